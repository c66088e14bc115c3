/**
 * Round trips through one kind of relay, in a process that does nothing else, as the worker of a device has rings of one
 * kind: `bun test/bench/relay-trips.ts DIRECTORY split|packed BATCH`. Prints `TripTimes` as JSON.
 */
import { warmUpRelays } from "../../src/relay/warm-up.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { roundTrips } from "./relay-round-trip.ts";
import { median } from "./relay-setup.ts";

const ROUNDS = 60;

/** Medians in microseconds, and of the ratios within a round: times, ours divided by theirs. */
export interface TripTimes {
  readonly ours: number;
  readonly c: number;
  readonly ratio: number;
  /** To a C loop that does not ask whether the guest's eventfd takes a signal. */
  readonly unguarded: number;
}

/** Measures in a process of its own. */
export async function measureTrips(directory: string, packed: boolean, batch: number): Promise<TripTimes> {
  const kind = packed ? "packed" : "split";
  console.error(`round trips of ${batch}, ${kind}: ${ROUNDS} rounds`);
  const child = Bun.spawn([process.execPath, import.meta.path, directory, kind, String(batch)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the round trips ended with ${child.exitCode}`);
  return JSON.parse(output) as TripTimes;
}

function measure(directory: string, packed: boolean, batch: number): TripTimes {
  // As the thread that relays does before its first ring.
  warmUpRelays(new CollectedLog());
  const trips = roundTrips(directory, packed);
  const round = () => ({ ours: trips.ours(batch), c: trips.c(batch), unguarded: trips.unguardedC(batch) });
  for (let warm = 0; warm < 5; warm++) round();
  const rounds = Array.from({ length: ROUNDS }, round);
  return {
    ours: median(rounds.map((r) => r.ours)),
    c: median(rounds.map((r) => r.c)),
    ratio: median(rounds.map((r) => r.ours / r.c)),
    unguarded: median(rounds.map((r) => r.ours / r.unguarded)),
  };
}

if (import.meta.main) {
  const [directory, kind, batch] = process.argv.slice(2);
  console.log(JSON.stringify(measure(directory!, kind === "packed", Number(batch))));
  process.exit(0);
}
