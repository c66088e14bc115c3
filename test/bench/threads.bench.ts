/**
 * What relay threads make of the work of two pairs whose rings are relayed: frames per second through the simulated
 * device, and processor time per frame of the busiest thread that relays. With 0 relay threads that is the device's
 * own thread. Medians of alternating runs. The front-end and the simulated device want more than a core themselves,
 * so that frames per second only grow where there are cores left; the busiest thread is what limits a larger machine.
 */
import { readdirSync, readFileSync } from "node:fs";
import { Daemon } from "../e2e/support/daemon.ts";
import { writeFrame } from "../support/front-end/frame.ts";
import { connectGuest, type Guest } from "../support/front-end/guest.ts";
import { eventually } from "../support/front-end/wait.ts";

const RUNS = 5;
const FRAMES = 100_000;
const WARM = 5_000;
/** Frames of a pair on their way at once. */
const WINDOW = 64;
const THREADS = [0, 1, 2] as const;
/** epoll_wait on x86-64 and arm64's epoll_pwait: what our threads sleep in, and no thread of the runtime's. */
const EPOLL = process.arch === "x64" ? "232" : "22";

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

/** Our threads in the order in which they were started: the simulated device, relay threads, the device's thread. */
function threadsOf(pid: number, count: number): Promise<number[]> {
  const asleep = () =>
    readdirSync(`/proc/${pid}/task`)
      .map(Number)
      .filter((tid) => readFileSync(`/proc/${pid}/task/${tid}/syscall`, "utf8").split(" ")[0] === EPOLL)
      .sort((a, b) => a - b);
  return eventually(() => (asleep().length === count ? asleep() : undefined), 20_000, "all threads asleep");
}

/** Processor time of a thread in seconds. */
const cpuSeconds = (pid: number, tid: number) =>
  Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "utf8").split(" ")[0]) / 1e9;

/** Sends so many frames of 64 bytes on each pair and takes them back; sleeps only when there is nothing to do. */
async function circulate(guest: Guest, frames: number): Promise<void> {
  const frame = writeFrame(Buffer.alloc(2048), 0, 0, 64);
  const flows = guest.pairs.map((pair) => ({ pair, sent: 0, back: 0 }));
  while (flows.some(({ back }) => back < frames)) {
    let moved = 0;
    for (const flow of flows) {
      const { pair } = flow;
      const before = flow.sent;
      while (flow.sent < frames && flow.sent - flow.back < WINDOW && pair.transmit(frame)) flow.sent++;
      if (flow.sent > before) pair.tx.flush();
      const received = pair.receive(() => {});
      flow.back += received;
      moved += flow.sent - before + received + pair.reclaim();
    }
    if (moved === 0) await guest.idle();
  }
}

async function measure(relayThreads: number, packed: boolean): Promise<{ rate: number; busiest: number }> {
  const args = ["--datapath", "relay", "--relay-threads", `${relayThreads}`];
  const daemon = await Daemon.start({ args });
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2, packed, layouts: ["single"] });
  const pass = (frames: number) => circulate(guest, frames);
  try {
    await pass(WARM);
    const threads = await threadsOf(daemon.pid, relayThreads + 2);
    const relaying = relayThreads > 0 ? threads.slice(1, -1) : threads.slice(-1);
    const cpu = () => relaying.map((tid) => cpuSeconds(daemon.pid, tid));
    const before = cpu();
    const start = performance.now();
    await pass(FRAMES);
    const seconds = (performance.now() - start) / 1000;
    const used = cpu().map((now, i) => now - before[i]!);
    return { rate: (2 * FRAMES) / seconds, busiest: (1e6 * Math.max(...used)) / (2 * FRAMES) };
  } finally {
    guest.close();
    await daemon.stop();
    await daemon.dispose();
  }
}

const report: Record<string, number> = {};
for (const packed of [false, true]) {
  const runs = THREADS.map(() => [] as { rate: number; busiest: number }[]);
  for (let run = 0; run < RUNS; run++) {
    console.error(`${packed ? "packed" : "split"} rings: run ${run + 1} of ${RUNS}`);
    for (const [i, threads] of THREADS.entries()) runs[i]!.push(await measure(threads, packed));
  }
  const layout = packed ? "packed" : "split";
  for (const [i, threads] of THREADS.entries()) {
    report[`${layout}_${threads}_threads_frames_per_s`] = median(runs[i]!.map(({ rate }) => rate));
    report[`${layout}_${threads}_threads_busiest_us_per_frame`] = median(
      runs[i]!.map(({ busiest }) => busiest),
    );
  }
  const ratio = (key: "rate" | "busiest") =>
    median(runs[2]!.map((two, run) => two[key] / runs[1]![run]![key]));
  report[`${layout}_rate_2_to_1`] = ratio("rate");
  report[`${layout}_busiest_2_to_1`] = ratio("busiest");
}
if (process.argv.includes("--json")) console.log(JSON.stringify(report));
else
  for (const [name, value] of Object.entries(report))
    console.log(`${name.padEnd(40)} ${value.toPrecision(3)}`);
