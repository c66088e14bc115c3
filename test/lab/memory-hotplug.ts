// Memory is plugged into a running guest whose rings are relayed at positions where no fresh device could go on.
import { command } from "./harness/command.ts";
import { Guest } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import { scenario } from "./harness/scenario.ts";
import { transfer } from "./harness/transfer.ts";
import { serve, vdpactlJson } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;
const FILE_BYTES = 256 * 1024;
const MODULE_MIB = 64;

interface Stats {
  memory: { regions: number; mapped_bytes: number };
  queues: Array<{ type: string; mode: string; positions: { used: number } | null }>;
}

async function stats(): Promise<Stats> {
  const [device] = (await vdpactlJson("stats")) as Stats[];
  if (!device) throw new Error("stats tells of no device");
  return { ...device, queues: device.queues.filter(({ type }) => type !== "control") };
}

async function plugging(lab: Lab, peer: Peer, packed: boolean): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const served = lab.device("served");
  const socket = `/tmp/hotplug-${packed}.sock`;
  const daemon = await serve({ device: served, socket });
  const guest = await Guest.boot({ name: `guest-${packed}`, socket, mac: served.mac, packed, slots: 2 });
  await guest.address(ADDRESS);
  lab.equal(name("pings answered"), await guest.ping(peer.address, PINGS), PINGS);
  // Stopped and gone on, the rings are where only a relay can be.
  await guest.qmp.execute("stop");
  await guest.qmp.execute("cont");
  lab.equal(name("pings answered after stop and cont"), await guest.ping(peer.address, PINGS), PINGS);
  const before = await stats();
  lab.equal(
    name("modes before"),
    before.queues.map(({ mode }) => mode),
    ["relay", "relay"],
  );
  lab.equal(
    name("rings that are still at their beginning"),
    before.queues.filter((q) => !q.positions?.used).length,
    0,
  );
  for (const id of ["first", "second"]) {
    await guest.plugMemory(id, MODULE_MIB);
    lab.equal(name(`pings answered with the ${id} module`), await guest.ping(peer.address, PINGS), PINGS);
  }
  const after = await stats();
  lab.equal(
    name("MiB mapped more"),
    (after.memory.mapped_bytes - before.memory.mapped_bytes) / 2 ** 20,
    2 * MODULE_MIB,
  );
  lab.equal(
    name("modes after"),
    after.queues.map(({ mode }) => mode),
    ["relay", "relay"],
  );
  const sums = await transfer(guest, ADDRESS, peer, FILE_BYTES);
  lab.equal(name("checksum of the file fetched"), sums.downloaded, sums.original);
  lab.equal(name("checksum of the file sent back"), sums.uploaded, sums.original);
  lab.equal(name("QEMU ends with 0"), await guest.quit(), 0);
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary: "memory is plugged into a running QEMU guest whose rings are relayed in the middle of a lap",
  usesVdpactl: true,
  extended: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    await lab.device("served").handTo("vfio-pci");
    for (const packed of [false, true]) await plugging(lab, peer, packed);
  },
});
