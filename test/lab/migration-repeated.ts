// A guest goes there and back ten times between the same two vdpactls and NICs, while one transfer and one row of
// pings go on from the first move to the last. Nothing grows.
import { isDeepStrictEqual } from "node:util";
import { command } from "./harness/command.ts";
import { EchoStream } from "./harness/echo-stream.ts";
import { type Footprint, footprintAgain, restingFootprint } from "./harness/footprint.ts";
import { Guest, type GuestOptions } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { move, queueLines, type Station } from "./harness/move.ts";
import { Peer } from "./harness/network.ts";
import { describeGaps, Pinger } from "./harness/pinger.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { serve } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;

/** What a daemon holds without a front-end. */
class Rests {
  readonly #first = new Map<Program, Footprint>();

  async note(daemons: readonly Program[]): Promise<void> {
    for (const daemon of daemons) this.#first.set(daemon, await restingFootprint(daemon.pid));
  }

  /** Whether it comes to hold what it held before its first front-end came. */
  async reached(daemon: Program): Promise<boolean> {
    const first = this.#first.get(daemon)!;
    const now = await footprintAgain(daemon.pid, first);
    if (isDeepStrictEqual(now, first)) return true;
    console.log(daemon.name, "held", first, "and holds", now);
    return false;
  }
}

interface Case {
  packed: boolean;
  pairs: number;
  trips: number;
}

async function thereAndBack(
  lab: Lab,
  peer: Peer,
  stations: [Station, Station],
  rests: Rests,
  { packed, pairs, trips }: Case,
): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const options: GuestOptions = {
    name: packed ? "packed" : "split",
    socket: stations[0].socket,
    mac: lab.device("here").mac,
    packed,
    pairs,
  };
  let guest = await Guest.boot(options);
  await guest.address(ADDRESS);
  if (pairs > 1) await guest.run(`ethtool -L eth0 combined ${pairs}`);
  const pinger = await Pinger.start(peer, ADDRESS);
  const stream = await EchoStream.start(peer, guest);
  const gaps: number[] = [];
  const downtimes: number[] = [];
  let relayed = 0;
  let rested = 0;
  for (let i = 1; i <= 2 * trips; i++) {
    const [from, to] = i % 2 === 1 ? stations : ([stations[1], stations[0]] as const);
    const before = queueLines(to.daemon, "relay").length;
    const moved = await move(guest, options, to);
    guest = moved.guest;
    await pinger.answeredAfter(moved.ended);
    await stream.flows();
    // A ring that was hardly used, such as the second pair's receive ring, may stand at its beginning and go on directly.
    if (queueLines(to.daemon, "relay").length > before) relayed += 1;
    if (await rests.reached(from.daemon)) rested += 1;
    gaps.push(pinger.longestGap(moved.began, moved.ended));
    downtimes.push(moved.info.downtime ?? 0);
  }
  lab.equal(name("moves after which rings went on where they were"), relayed, 2 * trips);
  lab.equal(name("moves after which the vdpactl left behind held what it held at first"), rested, 2 * trips);
  const result = await stream.end();
  lab.equal(name("bytes that came back of one transfer over all moves"), result.returned, result.sent);
  lab.equal(name("their checksum"), result.returned_sha256, result.sent_sha256);
  const pings = await pinger.stop();
  lab.equal(name("answers to pings that came twice"), pings.duplicates, 0);
  lab.note(
    `${name(describeGaps(gaps))}; QEMU's downtime ${Math.min(...downtimes)} to ${Math.max(...downtimes)} ms`,
  );
  lab.note(name(`${pings.sent - pings.received} of ${pings.sent} pings were not answered`));
  lab.equal(name("pings answered by the guest"), await peer.ping(ADDRESS, PINGS), PINGS);
  lab.equal(name("pings of the guest answered"), await guest.ping(peer.address, PINGS), PINGS);
  lab.equal(name("the last QEMU ends with 0"), await guest.quit(), 0);
}

export default scenario({
  summary: "a guest goes there and back ten times between two vdpactls under traffic, and nothing grows",
  usesVdpactl: true,
  extended: true,
  timeoutSeconds: 2400,
  vm: {
    devices: [
      { kind: "nic", name: "here", wire: "wide", pairs: 2, packed: true },
      { kind: "nic", name: "there", wire: "wide", pairs: 2, packed: true },
      { kind: "nic", name: "peer", wire: "wide", pairs: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    const station = async (name: string): Promise<Station> => {
      const socket = `/tmp/${name}.sock`;
      await lab.device(name).handTo("vfio-pci");
      return { socket, daemon: await serve({ device: lab.device(name), socket }) };
    };
    const stations: [Station, Station] = [await station("here"), await station("there")];
    const rests = new Rests();
    await rests.note(stations.map(({ daemon }) => daemon));
    await thereAndBack(lab, peer, stations, rests, { packed: true, pairs: 2, trips: 10 });
    await thereAndBack(lab, peer, stations, rests, { packed: false, pairs: 1, trips: 2 });
    for (const { daemon } of stations) lab.equal(`${daemon.name} ends with 0`, await daemon.stop(), 0);
  },
});
