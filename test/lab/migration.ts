// A running QEMU guest moves from one vdpactl and NIC to another while it is pinged and a transfer goes through it.
import { command } from "./harness/command.ts";
import { EchoStream } from "./harness/echo-stream.ts";
import { Guest, type GuestOptions } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { move, queueLines, type Station } from "./harness/move.ts";
import { Peer } from "./harness/network.ts";
import { Pinger } from "./harness/pinger.ts";
import { scenario } from "./harness/scenario.ts";
import { serve } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;

interface Case {
  packed: boolean;
  pairs: number;
}

async function underTraffic(lab: Lab, peer: Peer, { packed, pairs }: Case): Promise<void> {
  const layout = packed ? "packed" : "split";
  const name = (what: string) => `${layout}, ${pairs} pair${pairs > 1 ? "s" : ""}: ${what}`;
  const station = async (device: string): Promise<Station> => {
    const socket = `/tmp/${layout}-${pairs}-${device}.sock`;
    return { socket, daemon: await serve({ device: lab.device(device), socket }) };
  };
  const [from, to] = [await station("from"), await station("to")];
  const options: GuestOptions = {
    name: `${layout}-${pairs}`,
    socket: from.socket,
    mac: lab.device("from").mac,
    packed,
    pairs,
  };
  const source = await Guest.boot(options);
  await source.address(ADDRESS);
  if (pairs > 1) await source.run(`ethtool -L eth0 combined ${pairs}`);
  const pinger = await Pinger.start(peer, ADDRESS);
  const stream = await EchoStream.start(peer, source);
  lab.equal(name("queues relayed at first"), queueLines(from.daemon, "relay").length, 0);

  const before = await stream.progress();
  const { guest, info, left, began, stopped, resumed, ended } = await move(source, options, to);
  await stream.flows();
  await pinger.answeredAfter(ended);
  lab.equal(name("the migration"), info.status, "completed");
  lab.equal(name("the source's QEMU ends with 0"), left, 0);
  lab.atLeast(name("queues relayed at the source"), queueLines(from.daemon, "relay").length, 2 * pairs);
  // A ring that stands where a fresh device begins, such as one that was never used, goes on directly.
  lab.atLeast(name("queues relayed at the destination"), queueLines(to.daemon, "relay").length, pairs);
  const { last, next } = pinger.longestPause(began, ended);
  const since = (time: number) => (time - began).toFixed(0);
  lab.note(
    `${layout}, ${pairs}: ${info["total-time"]} ms in all; the guest stopped after ${since(stopped)} ms and went on after ${since(resumed)}`,
  );
  lab.note(`no answer from ${since(last)} to ${since(next)}: ${(next - last).toFixed(0)} ms without traffic`);

  const result = await stream.end();
  lab.atLeast(name("bytes there and back since the move began"), result.returned - before.returned, 1);
  lab.equal(name("bytes that came back"), result.returned, result.sent);
  lab.equal(name("their checksum"), result.returned_sha256, result.sent_sha256);
  const pings = await pinger.stop();
  lab.note(`${layout}, ${pairs}: ${pings.sent - pings.received} of ${pings.sent} pings were not answered`);
  lab.equal(name("answers to pings that came twice"), pings.duplicates, 0);
  // Only now: a busy guest leaves pings unanswered for want of room in its own send buffer.
  lab.equal(name("pings answered at the destination"), await peer.ping(ADDRESS, PINGS), PINGS);
  lab.equal(name("pings of the guest answered there"), await guest.ping(peer.address, PINGS), PINGS);
  lab.equal(name("the destination's QEMU ends with 0"), await guest.quit(), 0);
  for (const { daemon } of [from, to]) lab.equal(name(`${daemon.name} ends with 0`), await daemon.stop(), 0);
}

export default scenario({
  summary:
    "a running guest moves from one vdpactl and NIC to another under traffic: split and packed, one pair and two",
  usesVdpactl: true,
  extended: true,
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
    for (const packed of [false, true]) {
      for (const pairs of [1, 2]) await underTraffic(lab, peer, { packed, pairs });
    }
  },
});
