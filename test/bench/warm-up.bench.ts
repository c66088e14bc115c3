/**
 * What warming the relay up at start is worth: the first batch of a thread's first ring, forwarded and completed, with
 * the code cold and after `warmUpRelays`, beside the median batch of the same ring later on, and what warming up takes.
 * `first_again` is the first batch of another ring in a process that has relayed for long: what is left then is that the
 * memory of a ring is touched for the first time. Each run has a process of its own; medians over them. `scripts/bench warm-up [--json]`
 */
import { createRelay } from "../../src/relay/create-relay.ts";
import { availFlags, DESC_WRITE, usedFlags } from "../../src/relay/ring-format.ts";
import { warmUpRelays } from "../../src/relay/warm-up.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { BATCH, guestViews, median, ring, SIZE, stageFor } from "./relay-setup.ts";

const PROCESSES = 15;
const BATCHES = 20_000;

interface Sample {
  readonly warming_ms: number;
  readonly first_us: number;
  readonly steady_us: number;
  readonly first_again_us?: number;
}

/** In a process of its own. Everything but the relay is the same for all, and outside of the time that is taken. */
function measure(warm: boolean, packed: boolean): Sample {
  const start = performance.now();
  if (warm) warmUpRelays(new CollectedLog());
  const warming = performance.now() - start;
  const { stage, buffer } = stageFor(packed);
  const relay = createRelay(packed, { ring, memory: stage.memory, buffer, offset: 0 });
  const wrap = packed ? 1 : 0;
  relay.start({ availPosition: 0, availWrap: wrap, usedPosition: 0, usedWrap: wrap });
  relay.setLogging({ log: stage.log, data: true, usedRingGpa: packed ? undefined : ring.deviceGpa });
  const ours = buffer.memory.window(0).u8.buffer;
  const at = (iova: bigint) => Number(iova - buffer.iova);
  const desc = guestViews(stage, ring.descGpa).u16;
  const avail = guestViews(stage, ring.driverGpa).u16;
  const device = new Uint16Array(ours, at(packed ? relay.deviceQueue.desc : relay.deviceQueue.device));
  const times = new Float64Array(BATCHES);
  for (let batch = 0, done = 0; batch < BATCHES; batch++) {
    const slot = done % SIZE;
    const lap = Math.floor(done / SIZE) % 2 === 0 ? 1 : 0;
    done += BATCH;
    if (packed)
      for (let i = slot; i < slot + BATCH; i++) {
        // Our own completions have written over it; buffers go round by their ids.
        desc[8 * i + 7] = DESC_WRITE | availFlags(lap);
      }
    else avail[1] = done & 0xffff;
    const t0 = performance.now();
    relay.forward();
    const t1 = performance.now();
    if (packed) for (let i = slot; i < slot + BATCH; i++) device[8 * i + 7] = DESC_WRITE | usedFlags(lap);
    else {
      for (let i = slot; i < slot + BATCH; i++) device[2 + 4 * i] = i;
      device[1] = done & 0xffff;
    }
    const t2 = performance.now();
    relay.complete();
    times[batch] = 1000 * (performance.now() - t2 + t1 - t0);
  }
  if (relay.fault) throw relay.fault;
  if (relay.counts.completed !== BATCH * BATCHES) throw new Error("the relay did not move");
  return { warming_ms: warming, first_us: times[0]!, steady_us: median([...times.subarray(BATCHES / 2)]) };
}

function inProcess(warm: boolean, packed: boolean): Sample {
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, import.meta.path, warm ? "warm" : "cold", packed ? "packed" : "split"],
    { stderr: "pipe" },
  );
  if (exitCode !== 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

const [, , first, second] = process.argv;
if (first === "warm" || first === "cold") {
  const packed = second === "packed";
  const sample = measure(first === "warm", packed);
  console.log(JSON.stringify({ ...sample, first_again_us: measure(false, packed).first_us }));
} else {
  const report: Record<string, number> = {};
  for (const layout of ["split", "packed"]) {
    const packed = layout === "packed";
    console.error(`${layout} rings: ${PROCESSES} runs`);
    const runs = Array.from({ length: PROCESSES }, () => ({
      cold: inProcess(false, packed),
      warm: inProcess(true, packed),
    }));
    report[`${layout}_first_cold_us`] = median(runs.map(({ cold }) => cold.first_us));
    report[`${layout}_first_warm_us`] = median(runs.map(({ warm }) => warm.first_us));
    report[`${layout}_first_again_us`] = median(runs.map(({ warm }) => warm.first_again_us!));
    report[`${layout}_steady_us`] = median(runs.map(({ warm }) => warm.steady_us));
    report.warming_ms = median(runs.map(({ warm }) => warm.warming_ms));
  }
  if (process.argv.includes("--json")) console.log(JSON.stringify(report));
  else
    for (const [name, value] of Object.entries(report)) console.log(`${name.padEnd(24)} ${value.toFixed(2)}`);
}
