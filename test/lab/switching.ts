// DPDK's frames go round through vdpactl while its rings change between direct and relay mode a hundred times, on
// demand. Every frame is accounted for at both ends, and by the relay's own count.
import { circulate } from "./harness/circulation.ts";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { type PortStats, Testpmd } from "./harness/testpmd.ts";
import { until } from "./harness/until.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";

const SOCKET = "/tmp/switching.sock";
const QUEUE_SIZE = 256;
/** Frames that go round between two switches at least. */
const FRAMES = 64;
/** What the relay is to count alone. */
const COUNTED_FRAMES = 5000;

/** What `migrate prepare`, `cancel` and `status` tell, as far as it is used. */
interface MigrationRecord {
  phase: string;
  queues: Array<{
    type: string;
    mode: string;
    gap_us: number | null;
    relayed: number;
    mode_switches: number;
  }>;
}

const migrate = async (verb: string, device: Device, ...args: string[]) =>
  (await vdpactlJson("migrate", verb, "--pci", device.bdf, ...args)) as MigrationRecord;

const modes = ({ queues }: MigrationRecord) => queues.map(({ mode }) => mode);
const relayedOf = ({ queues }: MigrationRecord, type: string) =>
  queues.find((queue) => queue.type === type)?.relayed ?? Number.NaN;

/** Median and greatest of the time that a ring stood still, in words. */
function describeGaps(gaps: number[]): string {
  const ascending = [...gaps].sort((a, b) => a - b);
  const at = (share: number) =>
    ((ascending[Math.floor(share * (ascending.length - 1))] ?? 0) / 1000).toFixed(1);
  return `a ring stood still for p50 ${at(0.5)} ms, max ${at(1)} ms at ${gaps.length} switches`;
}

interface Case {
  packed: boolean;
  /** To the relay and back. */
  rounds: number;
}

async function switchOver(lab: Lab, near: Testpmd, { packed, rounds }: Case): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const device = lab.device("near");
  const gaps: number[] = [];
  let prepared = 0;
  let returned = 0;
  let last: MigrationRecord | undefined;
  await near.run("start tx_first 1");
  const pass = async () => {
    const { rx_packets } = await near.stats();
    await until("frames to go round", async () => (await near.stats()).rx_packets >= rx_packets + FRAMES);
  };
  await pass();
  for (let round = 0; round < rounds; round++) {
    const relayed = await migrate("prepare", device);
    if (modes(relayed).every((mode) => mode === "relay")) prepared += 1;
    await pass();
    last = await migrate("cancel", device, "--timeout", "30");
    if (modes(last).every((mode) => mode === "direct")) returned += 1;
    for (const { queues } of [relayed, last]) gaps.push(...queues.map(({ gap_us }) => gap_us ?? Number.NaN));
    await pass();
  }
  await near.run("stop");
  lab.equal(name("times that all rings were relayed on demand"), prepared, rounds);
  lab.equal(name("times that all rings returned to the device"), returned, rounds);
  lab.equal(
    name("changes of mode, by queue"),
    last?.queues.map((queue) => queue.mode_switches),
    [2 * rounds, 2 * rounds],
  );
  lab.note(name(describeGaps(gaps)));
}

async function pass(lab: Lab, far: Testpmd, test: Case): Promise<void> {
  const { packed } = test;
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const device = lab.device("near");
  const daemon = await serve({ device, socket: SOCKET });
  const near = await Testpmd.start({
    name: `near-${packed ? "packed" : "split"}`,
    vdevs: [
      `net_virtio_user0,path=${SOCKET},queues=1,queue_size=${QUEUE_SIZE},packed_vq=${packed ? 1 : 0},mac=${device.mac}`,
    ],
    forward: "io",
  });
  await far.run("clear port stats all");
  await switchOver(lab, near, test);
  // What is still on its way comes to rest at the near end.
  await near.run("set fwd rxonly");
  await near.run("start");
  const { tx_packets: sent } = await near.stats();
  await until("the last frames to be back", async () => (await near.stats()).rx_packets >= sent, 20).catch(
    (error) => console.log(String(error)),
  );
  await near.run("stop");
  await near.run("set fwd io");
  account(lab, name("over all switches"), await near.stats(), await far.stats());

  const before = await migrate("prepare", device);
  const start = await near.stats();
  const ends = await circulate(near, far, start.rx_packets + COUNTED_FRAMES);
  const after = await migrate("status", device);
  const counted = {
    tx: ends.near.tx_packets - start.tx_packets,
    rx: ends.near.rx_packets - start.rx_packets,
  };
  for (const type of ["tx", "rx"] as const) {
    const relayed = relayedOf(after, type) - relayedOf(before, type);
    lab.equal(
      name(`frames that the relay counts in its ${type} ring, as the front-end does`),
      relayed,
      counted[type],
    );
  }
  account(lab, name("with the relayed ones"), ends.near, ends.far);
  lab.equal(
    name("cancel ends with 0"),
    (await vdpactl("migrate", "cancel", "--pci", device.bdf, "--timeout", "0")).code,
    0,
  );
  lab.equal(name("the front-end leaves with 0"), await near.quit(), 0);
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

/** Frames sent at one end and received at the other. */
function account(lab: Lab, when: string, near: PortStats, far: PortStats): void {
  lab.equal(`${when}: sent by the front-end and received by the peer`, far.rx_packets, near.tx_packets);
  lab.equal(`${when}: sent by the peer and received by the front-end`, near.rx_packets, far.tx_packets);
  const errors = [near, far].flatMap((end) => [end.rx_errors, end.rx_missed, end.rx_nombuf, end.tx_errors]);
  lab.equal(
    `${when}: errors and drops at either end`,
    errors,
    errors.map(() => 0),
  );
}

export default scenario({
  summary:
    "DPDK's rings change between direct and relay mode a hundred times under traffic, and no frame is lost",
  usesVdpactl: true,
  timeoutSeconds: 1800,
  vm: {
    devices: [
      { kind: "nic", name: "near", wire: "short", packed: true },
      { kind: "nic", name: "far", wire: "short" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(320);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const far = await Testpmd.start({ name: "far", pci: [lab.device("far").bdf], forward: "io" });
    await far.run("start");
    await pass(lab, far, { packed: true, rounds: 50 });
    // A split ring returns only once its 16-bit index has wrapped: 65536 frames each time.
    await pass(lab, far, { packed: false, rounds: 2 });
    lab.equal("the peer leaves with 0", await far.quit(), 0);
  },
});
