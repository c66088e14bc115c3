/**
 * Run by allocation.test.ts in a process of its own: between two lines on stderr it relays two million batches, or as
 * `control` makes an object for each instead. As `wired` it relays a quarter of a million entries in answer to kicks and
 * interrupts, as a device's worker does.
 */
import { toArrayBuffer } from "bun:ffi";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { packedRun } from "../../bench/relay-packed.ts";
import { relayedRing } from "../../bench/relay-round-trip.ts";
import { BATCH, guestViews, LAPS, ring, SIZE } from "../../bench/relay-setup.ts";
import { splitRun } from "../../bench/relay-split.ts";

const RUNS = 8;
/** Calls of `forward` and `complete` in a run of each kind. */
const CALLS = 2 * 2 * LAPS * (SIZE / BATCH);
/** Kicks, and interrupts, in a run. */
const EVENTS = 30_000;

/** Both sides of a split ring that is wired to an event loop; they ask for every notification. */
function wired(): () => void {
  const loop = new EventLoop();
  const { stage, device, wires, log } = relayedRing(loop, false);
  const avail = guestViews(stage, ring.driverGpa).u16;
  const guestUsed = guestViews(stage, ring.deviceGpa).u16;
  // SAFETY: the ring's buffer lives as long as the process.
  const used = new Uint16Array(
    toArrayBuffer(device.used as Parameters<typeof toArrayBuffer>[0], 0, 6 + 8 * SIZE),
  );
  let index = 0;
  return () => {
    for (let i = 0; i < EVENTS; i++) {
      const slot = index % SIZE;
      used[2 + 4 * SIZE] = index;
      avail[2 + SIZE] = index;
      index = (index + 1) & 0xffff;
      avail[1] = index;
      signalEventfd(wires.kick);
      loop.runOnce(0);
      used[2 + 4 * slot] = slot;
      used[1] = index;
      signalEventfd(wires.interrupt);
      loop.runOnce(0);
      if (guestUsed[1] !== index) throw new Error(`entry ${index} is not used: ${log.lines.join("; ")}`);
    }
  };
}

const kept: object[] = [];
const control = () => {
  for (let i = 0; i < CALLS; i++) kept[i % 16] = { i };
};
const what = process.argv[2];
const runs = what === "relay" ? [splitRun(), packedRun()] : what === "wired" ? [wired()] : [control];
const move = () => {
  for (const run of runs) run();
};
for (let i = 0; i < 3; i++) move();
console.error("=== begin");
for (let i = 0; i < RUNS; i++) move();
console.error("=== end");
process.exit(0);
