/**
 * The relay on one core, beside DPDK's relay and plain C that does the same: ring 256, batch 32, one writable
 * descriptor per element, logging on. `bun test/bench/relay.bench.ts [--json]`. All take turns in one run; the figures
 * are medians over the rounds. Ratios are elements per second, ours divided by theirs in the same round; those of round
 * trips (one entry, or a batch) are times, ours divided by theirs.
 *
 * `ratio_to_dpdk`, `ratio_to_c` and `packed_ratio_to_c` are of completions, the half that DPDK's relay consists of.
 * `element_…` are of an element's whole way, forwarded and completed. `c` does what any correct relay has to do,
 * `checked_c` all that ours checks and notes, `trusting_c` even less than `c` (relay-ideal.c has the lists).
 * With a `fresh_log` no page is marked at a lap's beginning; else all are, as in most laps between two looks at the log.
 * DPDK's relay sets each mark by a locked instruction whether it is set or not.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { warmUpRelays } from "../../src/relay/warm-up.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { idealRuns } from "./relay-c.ts";
import { DpdkRelay } from "./relay-dpdk.ts";
import { packedRun } from "./relay-packed.ts";
import { BATCH, median, type Timing } from "./relay-setup.ts";
import { splitRun } from "./relay-split.ts";
import { measureTrips } from "./relay-trips.ts";

const ROUNDS = 15;

async function measure(directory: string) {
  let dpdk: DpdkRelay | undefined;
  let missing: string | undefined;
  try {
    dpdk = await DpdkRelay.start(directory);
  } catch (error) {
    missing = String(error);
  }
  try {
    const [split, fresh, packed, c] = [splitRun(), splitRun(true), packedRun(), idealRuns(directory)];
    const round = async () => ({
      split: split(),
      fresh: fresh(),
      dpdk: dpdk ? await dpdk.run() : Number.NaN,
      c: c.split(),
      trusting: c.splitTrusting(),
      checked: c.splitChecked(),
      packed: packed(),
      packedC: c.packed(),
      packedChecked: c.packedChecked(),
    });
    for (let warm = 0; warm < 2; warm++) await round();
    const rounds: Awaited<ReturnType<typeof round>>[] = [];
    while (rounds.length < ROUNDS) {
      console.error(`relaying: round ${rounds.length + 1} of ${ROUNDS}`);
      rounds.push(await round());
    }
    return { rounds, missing, version: dpdk?.version };
  } finally {
    dpdk?.stop();
  }
}

const directory = mkdtempSync(join(tmpdir(), "relay-bench-"));
try {
  const one = await measureTrips(directory, false, 1);
  const many = await measureTrips(directory, false, BATCH);
  const packedOne = await measureTrips(directory, true, 1);
  const packedMany = await measureTrips(directory, true, BATCH);
  // As the thread that relays does before its first ring.
  warmUpRelays(new CollectedLog());
  const { rounds, missing, version } = await measure(directory);
  const of = (pick: (round: (typeof rounds)[number]) => number) => median(rounds.map(pick));
  const withDpdk = missing === undefined;
  const whole = (pick: (round: (typeof rounds)[number]) => Timing) => (round: (typeof rounds)[number]) =>
    pick(round).forward + pick(round).complete;
  const split = whole((r) => r.split);
  const packed = whole((r) => r.packed);
  const result = {
    dpdk_version: version ?? null,
    ratio_to_dpdk: withDpdk ? of((r) => r.dpdk / r.split.complete) : null,
    ratio_to_dpdk_fresh_log: withDpdk ? of((r) => r.dpdk / r.fresh.complete) : null,
    ratio_to_c: of((r) => r.c.complete / r.split.complete),
    ratio_to_trusting_c: of((r) => r.trusting.complete / r.split.complete),
    packed_ratio_to_c: of((r) => r.packedC.complete / r.packed.complete),
    element_ratio_to_c: of((r) => whole((x) => x.c)(r) / split(r)),
    element_ratio_to_checked_c: of((r) => whole((x) => x.checked)(r) / split(r)),
    packed_element_ratio_to_c: of((r) => whole((x) => x.packedC)(r) / packed(r)),
    packed_element_ratio_to_checked_c: of((r) => whole((x) => x.packedChecked)(r) / packed(r)),
    round_trip_ratio_to_c: one.ratio,
    round_trip_ratio_to_unguarded_c: one.unguarded,
    batch_round_trip_ratio_to_c: many.ratio,
    batch_round_trip_ratio_to_unguarded_c: many.unguarded,
    packed_round_trip_ratio_to_c: packedOne.ratio,
    packed_batch_round_trip_ratio_to_c: packedMany.ratio,
    split_complete_ns: of((r) => r.split.complete),
    split_complete_fresh_log_ns: of((r) => r.fresh.complete),
    dpdk_complete_ns: withDpdk ? of((r) => r.dpdk) : null,
    c_split_complete_ns: of((r) => r.c.complete),
    c_trusting_split_complete_ns: of((r) => r.trusting.complete),
    c_checked_split_complete_ns: of((r) => r.checked.complete),
    split_forward_ns: of((r) => r.split.forward),
    c_split_forward_ns: of((r) => r.c.forward),
    c_checked_split_forward_ns: of((r) => r.checked.forward),
    packed_complete_ns: of((r) => r.packed.complete),
    c_packed_complete_ns: of((r) => r.packedC.complete),
    c_checked_packed_complete_ns: of((r) => r.packedChecked.complete),
    packed_forward_ns: of((r) => r.packed.forward),
    c_packed_forward_ns: of((r) => r.packedC.forward),
    c_checked_packed_forward_ns: of((r) => r.packedChecked.forward),
    round_trip_us: one.ours,
    c_round_trip_us: one.c,
    batch_round_trip_us: many.ours,
    c_batch_round_trip_us: many.c,
    packed_round_trip_us: packedOne.ours,
    c_packed_round_trip_us: packedOne.c,
    packed_batch_round_trip_us: packedMany.ours,
    c_packed_batch_round_trip_us: packedMany.c,
  };
  if (process.argv.includes("--json")) {
    console.log(JSON.stringify(result));
  } else {
    for (const [name, value] of Object.entries(result)) {
      if (typeof value !== "number") {
        if (value !== null) console.log(`${name.padEnd(38)} ${value}`);
        continue;
      }
      const rate = name.endsWith("_ns") ? `  ${(1000 / value).toFixed(0)} M elements/s` : "";
      console.log(`${name.padEnd(38)} ${value.toFixed(2)}${rate}`);
    }
  }
  if (missing !== undefined) console.error(`not compared with DPDK: ${missing}`);
} finally {
  rmSync(directory, { recursive: true });
}
process.exit(0);
