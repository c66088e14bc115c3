// Front-ends that come and go, fifty of them, and one that is killed: vdpactl holds afterwards what it held before.
import { isDeepStrictEqual } from "node:util";
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { command } from "./harness/command.ts";
import {
  type Footprint,
  footprint,
  footprintAgain,
  privateKib,
  restingFootprint,
} from "./harness/footprint.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { until } from "./harness/until.ts";
import { serve } from "./harness/vdpactl.ts";

const ROUNDS = 50;
const FRAMES = 64;
const SOCKET = "/tmp/reconnect.sock";
/**
 * What private memory may grow by in the second half of the visits. The runtime's heap and compiled code still grow then,
 * by 1 to 4 MiB (over a thousand visits by 5 KiB each); what a front-end brings along is 2 MiB and more, every time.
 */
const GROWTH_KIB = 16 * 1024;

/** One front-end's visit; returns what vdpactl held meanwhile. */
async function visit(daemon: Program, round: number): Promise<Footprint> {
  const guest = await connectGuest({ socketPath: SOCKET, packed: round % 2 === 1, ringSize: 64 });
  try {
    await passFrames(guest, { frames: FRAMES });
    const during = footprint(daemon.pid);
    // Every third one leaves without a word.
    if (round % 3 !== 0) await guest.stop();
    return during;
  } finally {
    guest.close();
  }
}

async function killed(lab: Lab, daemon: Program, rest: Footprint): Promise<void> {
  const frontEnd = await Testpmd.start({
    name: "killed-front-end",
    vdevs: [`net_virtio_user0,path=${SOCKET},queues=1,queue_size=256`],
    forward: "io",
  });
  await frontEnd.run("start tx_first 1");
  await until("frames to pass", async () => (await frontEnd.stats()).rx_packets >= 1000);
  lab.atLeast(
    "killed front-end: KiB mapped for DMA before",
    footprint(daemon.pid).locked_kib - rest.locked_kib,
    1,
  );
  frontEnd.program.signal("SIGKILL");
  await frontEnd.program.exited;
  lab.equal(
    "killed front-end: vdpactl holds what it held before",
    await footprintAgain(daemon.pid, rest),
    rest,
  );
}

export default scenario({
  summary: "fifty front-ends come and go, one is killed: no fd, mapping or memory is left",
  usesVdpactl: true,
  timeoutSeconds: 2400,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(256);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const daemon = await serve({ device: lab.device("served"), socket: SOCKET });
    const peer = await Testpmd.start({ name: "peer", pci: [lab.device("peer").bdf], forward: "io" });
    await peer.run("start");

    // The first visits let the runtime allocate what it keeps.
    const empty = await restingFootprint(daemon.pid);
    for (let round = 0; round < 4; round++) await visit(daemon, round);
    await until("vdpactl to let go", () => footprint(daemon.pid).locked_kib <= empty.locked_kib);
    const rest = await restingFootprint(daemon.pid);
    lab.equal("after the first visits: DMA mappings", rest.locked_kib, empty.locked_kib);
    lab.equal("after the first visits: memory mappings", rest.shared_mappings, empty.shared_mappings);
    let returned = 0;
    let mapped = 0;
    const memory: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      if ((await visit(daemon, round)).locked_kib > rest.locked_kib) mapped += 1;
      if (isDeepStrictEqual(await footprintAgain(daemon.pid, rest), rest)) returned += 1;
      memory.push(privateKib(daemon.pid));
    }
    lab.equal("visits during which the guest's memory was mapped for DMA", mapped, ROUNDS);
    lab.equal("visits after which fds and mappings were as before", returned, ROUNDS);
    lab.note(
      `private memory in KiB after each tenth visit: ${memory.filter((_, round) => round % 10 === 9).join(" ")}`,
    );
    const growth = memory[ROUNDS - 1]! - memory[ROUNDS / 2]!;
    lab.check(
      "growth of private memory in the second half, in KiB",
      growth <= GROWTH_KIB,
      `${growth}, at most ${GROWTH_KIB} allowed`,
    );
    await killed(lab, daemon, rest);
    await visit(daemon, 0);
    lab.equal("vdpactl serves the next one, and ends with 0", await daemon.stop(), 0);
    await peer.quit();
  },
});
