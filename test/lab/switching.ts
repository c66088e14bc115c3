// DPDK returns numbered frames through vdpactl while its rings change between direct and relay mode a hundred times, on
// demand. Every frame is accounted for at both ends of the wire, and by the relay's own count.
import type { Device } from "./harness/device.ts";
import { FrameStream } from "./harness/frame-stream.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { type MigrationRecord, migrate, modes } from "./harness/migrate.ts";
import { Peer } from "./harness/network.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { until } from "./harness/until.ts";
import { serve, vdpactl } from "./harness/vdpactl.ts";
import { loadVfio } from "./harness/vfio.ts";

const QUEUE_SIZE = 256;
/**
 * Frames on their way at a time. The guest's transmit ring holds at most these and those of which it is yet to see that
 * they left, which are as many; so it has room always, and testpmd drops nothing for want of it.
 */
const WINDOW = 64;
/** Frames that pass between two switches at least. */
const FRAMES = 128;
/** What the relay is to count alone. */
const COUNTED_FRAMES = 2000;

/** Median and greatest, in words. */
function describe(microseconds: number[]): string {
  const ascending = [...microseconds].sort((a, b) => a - b);
  const at = (share: number) =>
    ((ascending[Math.floor(share * (ascending.length - 1))] ?? 0) / 1000).toFixed(1);
  return `p50 ${at(0.5)} ms, max ${at(1)} ms`;
}

interface Case {
  packed: boolean;
  /** To the relay and back. */
  rounds: number;
}

/** One front-end with one kind of ring. */
class Run {
  constructor(
    readonly lab: Lab,
    readonly device: Device,
    readonly near: Testpmd,
    readonly frames: FrameStream,
    readonly test: Case,
  ) {}

  name(what: string): string {
    return `${this.test.packed ? "packed" : "split"}: ${what}`;
  }

  async switchOver(): Promise<void> {
    const { lab, device, frames, test } = this;
    const stood: Record<string, number[]> = { relay: [], direct: [] };
    const pauses: number[] = [];
    const losses: string[] = [];
    const reached = { relay: 0, direct: 0 };
    let last: MigrationRecord | undefined;
    const step = async (mode: "relay" | "direct", verb: string, ...args: string[]) => {
      // The pause before belongs to the switch before.
      const { lost } = await frames.counts();
      last = await migrate(verb, device, ...args);
      if (modes(last).every((now) => now === mode)) reached[mode]++;
      stood[mode]!.push(...last.queues.map(({ gap_us }) => gap_us ?? Number.NaN));
      const after = await frames.passes(FRAMES);
      pauses.push(after.pause_us);
      if (after.lost > lost) losses.push(`${after.lost - lost} at ${verb} ${pauses.length}`);
    };
    await frames.passes(FRAMES);
    for (let round = 0; round < test.rounds; round++) {
      await step("relay", "prepare");
      await step("direct", "cancel", "--timeout", "300");
    }
    const { rounds } = test;
    lab.equal(this.name("times that both rings were relayed, and direct again"), reached, {
      relay: rounds,
      direct: rounds,
    });
    lab.equal(
      this.name("changes of mode, by queue"),
      last?.queues.map((queue) => queue.mode_switches),
      [2 * rounds, 2 * rounds],
    );
    lab.equal(this.name("frames lost, by switch"), losses, []);
    await this.account("over all switches");
    lab.note(this.name(`a ring stood still to the relay ${describe(stood["relay"]!)}`));
    lab.note(this.name(`a ring stood still to the device ${describe(stood["direct"]!)}`));
    lab.note(this.name(`the wire was silent at ${pauses.length} switches: ${describe(pauses)}`));
  }

  /**
   * Once nothing is on its way any more. QEMU's device finishes a frame before it does anything else, so that it holds
   * none when a queue is reset, and none may be lost there.
   */
  async account(when: string): Promise<void> {
    const { lab, near, frames } = this;
    const { sent, received, lost, duplicates } = await frames.rest();
    const { rx_packets, tx_packets, ...rest } = await near.stats();
    lab.equal(
      this.name(`${when}: frames lost and doubled`),
      { lost, duplicates },
      { lost: 0, duplicates: 0 },
    );
    lab.equal(this.name(`${when}: sent by the peer and received by the front-end`), rx_packets, sent);
    lab.equal(this.name(`${when}: sent by the front-end and received by the peer`), tx_packets, received);
    const errors = Object.values(rest);
    lab.equal(
      this.name(`${when}: errors and drops of the front-end`),
      errors,
      errors.map(() => 0),
    );
  }

  /** What the relay counts is what passed, neither more nor less. */
  async countRelayed(): Promise<void> {
    const { lab, device, frames } = this;
    await frames.passes(FRAMES);
    await migrate("prepare", device);
    const { received: first } = await frames.rest();
    const before = await this.#relayed(0);
    await frames.passes(COUNTED_FRAMES);
    const { received } = await frames.rest();
    const passed = received - first;
    const after = await this.#relayed(before.tx + passed);
    lab.equal(
      this.name("frames that the relay counts in its two rings, as both ends do"),
      { rx: after.rx - before.rx, tx: after.tx - before.tx },
      { rx: passed, tx: passed },
    );
    await this.account("with the relayed ones");
    const end = await vdpactl("migrate", "cancel", "--pci", device.bdf, "--timeout", "0");
    lab.equal(this.name("cancel ends with 0"), end.code, 0);
  }

  /** That the device has sent a frame may show after the frame has come back. */
  async #relayed(least: number): Promise<{ rx: number; tx: number }> {
    return until("the last frames to be completed", async () => {
      const { queues } = await migrate("status", this.device);
      const of = (type: string) => queues.find((queue) => queue.type === type)?.relayed ?? Number.NaN;
      return of("tx") >= least && { rx: of("rx"), tx: of("tx") };
    });
  }
}

async function pass(lab: Lab, peer: Peer, test: Case): Promise<void> {
  const { packed } = test;
  const kind = packed ? "packed" : "split";
  const device = lab.device("near");
  const socket = `/tmp/switching-${kind}.sock`;
  const daemon = await serve({ device, socket });
  const near = await Testpmd.start({
    name: `near-${kind}`,
    vdevs: [
      `net_virtio_user0,path=${socket},queues=1,queue_size=${QUEUE_SIZE},packed_vq=${packed ? 1 : 0},mac=${device.mac}`,
    ],
    forward: "io",
  });
  await near.run("start");
  const frames = await FrameStream.start(peer, WINDOW);
  const run = new Run(lab, device, near, frames, test);
  await run.switchOver();
  await run.countRelayed();
  await frames.stop();
  lab.equal(run.name("the front-end leaves with 0"), await near.quit(), 0);
  lab.equal(run.name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary:
    "rings under traffic go to the relay and back to the device a hundred times, no frame is lost or doubled",
  usesVdpactl: true,
  extended: true,
  timeoutSeconds: 1800,
  vm: {
    devices: [
      { kind: "nic", name: "near", wire: "short", packed: true },
      { kind: "nic", name: "far", wire: "short" },
    ],
  },
  async run(lab) {
    await loadVfio();
    hugepages(160);
    const peer = await Peer.create("far", lab.device("far"), "10.0.0.1");
    // Frames of the kernel's own would be counted too.
    await peer.run("ip", "link", "set", peer.link, "arp", "off");
    // The usual queue, fq_codel, drops a frame that has waited for long, on a busy machine, and does not tell its sender.
    await peer.run("tc", "qdisc", "replace", "dev", peer.link, "root", "pfifo");
    await lab.device("near").handTo("vfio-pci");
    await pass(lab, peer, { packed: true, rounds: 48 });
    // A split ring returns only once its 16-bit index has wrapped: 65536 frames each time.
    await pass(lab, peer, { packed: false, rounds: 2 });
  },
});
