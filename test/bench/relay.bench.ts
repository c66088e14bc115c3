/**
 * The relay on one core, beside DPDK's relay and plain C that does the same: ring 256, batch 32, one writable
 * descriptor per element, logging on. `bun test/bench/relay.bench.ts [--json]`. All take turns in one run; the figures
 * are medians over the rounds. Ratios are elements per second, ours divided by theirs in the same round.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { idealRuns } from "./relay-c.ts";
import { DpdkRelay } from "./relay-dpdk.ts";
import { packedRun } from "./relay-packed.ts";
import { median } from "./relay-setup.ts";
import { splitRun } from "./relay-split.ts";

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
    const [split, packed, c] = [splitRun(), packedRun(), idealRuns(directory)];
    const round = async () => ({
      split: split(),
      dpdk: dpdk ? await dpdk.run() : Number.NaN,
      c: c.split(),
      trusting: c.splitTrusting(),
      packed: packed(),
      packedC: c.packed(),
    });
    for (let warm = 0; warm < 2; warm++) await round();
    const rounds: Awaited<ReturnType<typeof round>>[] = [];
    while (rounds.length < ROUNDS) rounds.push(await round());
    return { rounds, missing, version: dpdk?.version };
  } finally {
    dpdk?.stop();
  }
}

const directory = mkdtempSync(join(tmpdir(), "relay-bench-"));
try {
  const { rounds, missing, version } = await measure(directory);
  const of = (pick: (round: (typeof rounds)[number]) => number) => median(rounds.map(pick));
  const withDpdk = missing === undefined;
  const result = {
    dpdk_version: version ?? null,
    ratio_to_dpdk: withDpdk ? of((r) => r.dpdk / r.split.complete) : null,
    ratio_to_c: of((r) => r.c.complete / r.split.complete),
    ratio_to_trusting_c: of((r) => r.trusting.complete / r.split.complete),
    packed_ratio_to_c: of((r) => r.packedC.complete / r.packed.complete),
    split_complete_ns: of((r) => r.split.complete),
    dpdk_complete_ns: withDpdk ? of((r) => r.dpdk) : null,
    c_split_complete_ns: of((r) => r.c.complete),
    c_trusting_split_complete_ns: of((r) => r.trusting.complete),
    split_forward_ns: of((r) => r.split.forward),
    c_split_forward_ns: of((r) => r.c.forward),
    packed_complete_ns: of((r) => r.packed.complete),
    c_packed_complete_ns: of((r) => r.packedC.complete),
    packed_forward_ns: of((r) => r.packed.forward),
    c_packed_forward_ns: of((r) => r.packedC.forward),
  };
  if (process.argv.includes("--json")) {
    console.log(JSON.stringify(result));
  } else {
    for (const [name, value] of Object.entries(result)) {
      if (typeof value !== "number") {
        if (value !== null) console.log(`${name.padEnd(30)} ${value}`);
        continue;
      }
      const rate = name.endsWith("_ns") ? `  ${(1000 / value).toFixed(0)} M elements/s` : "";
      console.log(`${name.padEnd(30)} ${value.toFixed(2)}${rate}`);
    }
  }
  if (missing !== undefined) console.error(`not compared with DPDK: ${missing}`);
} finally {
  rmSync(directory, { recursive: true });
}
process.exit(0);
