// A running QEMU guest moves from one NIC to another on the same wire and back, within one vdpactl: `migrate to`. It
// is pinged meanwhile, and a transfer goes through it. One of the moves is interrupted with Ctrl-C.
import { ControlProxy } from "../support/daemon/control-proxy.ts";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import { EchoStream } from "./harness/echo-stream.ts";
import { Guest } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { queueLines } from "./harness/move.ts";
import { Peer } from "./harness/network.ts";
import { describeGaps, Pinger } from "./harness/pinger.ts";
import { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { until } from "./harness/until.ts";
import { serve, vdpactlJson, vdpactlPath } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;
const MOVES = 4;
const INTERRUPTED = 2;

/** What `migrate to` tells. */
interface MoveRecord {
  from: string;
  to: string;
  gap_us: number;
  queues: unknown[];
}

/** What `vdpactl stats` tells, as far as it is used. */
interface Stats {
  device: string;
  queues: Array<{ type: string }>;
}

type Move = (daemon: Program, from: Device, to: Device) => Promise<MoveRecord>;

const move: Move = async (_daemon, from, to) =>
  (await vdpactlJson("migrate", "to", to.bdf, "--pci", from.bdf)) as MoveRecord;

/** Interrupts `migrate to` once it has asked for the move, which goes on. What it would have told is found otherwise. */
const interruptedMove =
  (lab: Lab, name: (what: string) => string): Move =>
  async (daemon, from, to) => {
    const proxy = await ControlProxy.listen(`/run/vdpactl/${daemon.pid}.sock`);
    const asked = proxy.keepBack("move");
    const argv = ["migrate", "to", to.bdf, "--pci", from.bdf, "--runtime-dir", proxy.directory];
    daemon.stderr.skip();
    const client = new Program("interrupted", [vdpactlPath, ...argv]);
    await Promise.race([asked, client.exited]);
    client.signal("SIGINT");
    lab.equal(name("exit code of a move that is interrupted"), await client.exited, 130);
    lab.equal(
      name("its last words"),
      client.stderr.text.trim(),
      "warning: the daemon goes on with the move: vdpactl stats shows where the guest is",
    );
    const arrived = new RegExp(`the guest is on ${to.bdf} after ([\\d.]+) ms`);
    const [, ms] = await daemon.stderr.expect(arrived);
    proxy.close();
    return until("the guest to be shown on the other device", async () => {
      const [{ device, queues }] = (await vdpactlJson("stats")) as [Stats];
      const rings = queues.filter(({ type }) => type !== "control");
      return device === to.bdf && { from: from.bdf, to: device, gap_us: 1000 * Number(ms), queues: rings };
    });
  };

async function betweenDevices(lab: Lab, peer: Peer, packed: boolean): Promise<void> {
  const layout = packed ? "packed" : "split";
  const name = (what: string) => `${layout}: ${what}`;
  const devices = [lab.device("here"), lab.device("there")] as const;
  const socket = `/tmp/${layout}.sock`;
  const daemon = await serve({ device: devices[0], socket });
  const guest = await Guest.boot({ name: layout, socket, mac: devices[0].mac, packed });
  await guest.address(ADDRESS);
  const pinger = await Pinger.start(peer, ADDRESS);
  const stream = await EchoStream.start(peer, guest);
  const gaps: number[] = [];
  const stood: number[] = [];
  const told: string[] = [];
  for (let i = 0; i < MOVES; i++) {
    const [from, to] = i % 2 === 0 ? devices : [devices[1], devices[0]];
    const began = Date.now();
    const how = i === INTERRUPTED ? interruptedMove(lab, name) : move;
    const moved = await how(daemon, from, to);
    const ended = Date.now();
    told.push(`${moved.from} ${moved.to} ${moved.queues.length}`);
    stood.push(moved.gap_us / 1000);
    await pinger.answeredAfter(ended);
    await stream.flows();
    gaps.push(pinger.longestGap(began, ended));
  }
  const there = `${devices[0].bdf} ${devices[1].bdf} 2`;
  const back = `${devices[1].bdf} ${devices[0].bdf} 2`;
  lab.equal(name("moves, each with its queues"), told, [there, back, there, back]);
  lab.atLeast(name("queues relayed, as they went on where they were"), queueLines(daemon, "relay").length, 2);
  const result = await stream.end();
  lab.equal(name("bytes that came back of one transfer over all moves"), result.returned, result.sent);
  lab.equal(name("their checksum"), result.returned_sha256, result.sent_sha256);
  lab.equal(name("answers to pings that came twice"), (await pinger.stop()).duplicates, 0);
  lab.note(
    name(`${describeGaps(gaps)}; the device by its own account at most ${Math.max(...stood).toFixed(1)} ms`),
  );
  lab.equal(name("pings answered by the guest"), await peer.ping(ADDRESS, PINGS), PINGS);
  lab.equal(name("pings of the guest answered"), await guest.ping(peer.address, PINGS), PINGS);
  lab.equal(name("QEMU ends with 0"), await guest.quit(), 0);
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary: "a running guest moves from one NIC to another within one vdpactl, under traffic: migrate to",
  usesVdpactl: true,
  timeoutSeconds: 1800,
  vm: {
    devices: [
      { kind: "nic", name: "here", wire: "wide", packed: true },
      { kind: "nic", name: "there", wire: "wide", packed: true },
      { kind: "nic", name: "peer", wire: "wide" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    for (const name of ["here", "there"]) await lab.device(name).handTo("vfio-pci");
    for (const packed of [false, true]) await betweenDevices(lab, peer, packed);
  },
});
