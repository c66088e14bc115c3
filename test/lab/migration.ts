// A running QEMU guest moves from one vdpactl and NIC to another, under traffic; before that it is stopped and goes on.
import { command } from "./harness/command.ts";
import { Guest } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { transfer } from "./harness/transfer.ts";
import { serve } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;
const FILE_BYTES = 256 * 1024;

/** Lines of the daemon's log on queues that are relayed. */
const relayed = (daemon: Program) => daemon.stderr.text.match(/^queue \d+ .* relay doorbell .*$/gm) ?? [];

/** A guest that is stopped and goes on finds its rings where they were, which takes the relay. */
async function stopAndGoOn(
  lab: Lab,
  name: (what: string) => string,
  guest: Guest,
  daemon: Program,
  peer: Peer,
): Promise<void> {
  await guest.qmp.execute("stop");
  await guest.qmp.execute("cont");
  lab.equal(name("pings answered after stop and cont"), await guest.ping(peer.address, PINGS), PINGS);
  lab.atLeast(name("queues relayed since, as they went on where they were"), relayed(daemon).length, 2);
}

async function move(lab: Lab, peer: Peer, packed: boolean): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const layout = packed ? "packed" : "split";
  const [from, to] = [lab.device("from"), lab.device("to")];
  const uri = `unix:/tmp/${layout}.migration`;
  const daemons = [
    await serve({ device: from, socket: `/tmp/${layout}-from.sock` }),
    await serve({ device: to, socket: `/tmp/${layout}-to.sock` }),
  ] as const;
  const source = await Guest.boot({
    name: `${layout}-source`,
    socket: `/tmp/${layout}-from.sock`,
    mac: from.mac,
    packed,
  });
  await source.address(ADDRESS);
  lab.equal(name("pings answered"), await source.ping(peer.address, PINGS), PINGS);
  lab.equal(name("queues relayed at first"), relayed(daemons[0]).length, 0);

  // The split rings are moved to the relay while they run. Packed ones are relayed since they were stopped: while they
  // run directly, their position does not always show.
  if (packed) await stopAndGoOn(lab, name, source, daemons[0], peer);

  await source.run(`(ping -i 1 ${peer.address} > /tmp/pings &)`);
  const destination = await Guest.boot({
    name: `${layout}-destination`,
    socket: `/tmp/${layout}-to.sock`,
    mac: from.mac,
    packed,
    incoming: uri,
  });
  const info = await source.migrate(uri);
  lab.atLeast(name("queues relayed at the source"), relayed(daemons[0]).length, 2);
  lab.equal(name("the migration"), info["error-desc"] ?? info.status, "completed");
  lab.note(`${layout}: ${info["total-time"]} ms in all, ${info.downtime} ms without the guest`);
  lab.equal(name("the source's QEMU ends with 0"), await source.quit(), 0);
  lab.equal(name("pings answered at the destination"), await destination.ping(peer.address, PINGS), PINGS);
  lab.equal(name("pings that the guest answers there"), await peer.ping(ADDRESS, PINGS), PINGS);
  lab.atLeast(name("queues relayed at the destination"), relayed(daemons[1]).length, 2);
  if (!packed) await stopAndGoOn(lab, name, destination, daemons[1], peer);
  const pings = await destination.run("killall ping; cat /tmp/pings");
  const answers = [...pings.matchAll(/seq=(\d+)/g)].map((match) => match[1]);
  lab.equal(
    name("answers to the pings during the move that came twice"),
    answers.length - new Set(answers).size,
    0,
  );
  const sums = await transfer(destination, ADDRESS, peer, FILE_BYTES);
  lab.equal(name("checksum of a file fetched after the move"), sums.downloaded, sums.original);
  lab.equal(name("checksum of the file sent back"), sums.uploaded, sums.original);
  lab.equal(name("the destination's QEMU ends with 0"), await destination.quit(), 0);
  for (const daemon of daemons) lab.equal(name(`${daemon.name} ends with 0`), await daemon.stop(), 0);
}

export default scenario({
  summary: "a running guest moves from one vdpactl and NIC to another, with split and with packed rings",
  usesVdpactl: true,
  timeoutSeconds: 2400,
  vm: {
    devices: [
      { kind: "nic", name: "from", wire: "wide", pairs: 2, packed: true },
      { kind: "nic", name: "to", wire: "wide", pairs: 2, packed: true },
      { kind: "nic", name: "peer", wire: "wide", pairs: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    for (const name of ["from", "to"]) await lab.device(name).handTo("vfio-pci");
    for (const packed of [false, true]) await move(lab, peer, packed);
  },
});
