/**
 * Run by allocation.test.ts in a process of its own: between two lines on stderr it relays two million batches, or as
 * `control` makes an object for each instead.
 */
import { packedRun } from "../../bench/relay-packed.ts";
import { BATCH, LAPS, SIZE } from "../../bench/relay-setup.ts";
import { splitRun } from "../../bench/relay-split.ts";

const RUNS = 8;
/** Calls of `forward` and `complete` in a run of each kind. */
const CALLS = 2 * 2 * LAPS * (SIZE / BATCH);

const runs = [splitRun(), packedRun()];
const kept: object[] = [];
const move = () => {
  if (process.argv[2] === "relay") for (const run of runs) run();
  else for (let i = 0; i < CALLS; i++) kept[i % 16] = { i };
};
for (let i = 0; i < 3; i++) move();
console.error("=== begin");
for (let i = 0; i < RUNS; i++) move();
console.error("=== end");
