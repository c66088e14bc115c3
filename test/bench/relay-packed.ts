import { PackedRelay } from "../../src/relay/packed-relay.ts";
import { availFlags, DESC_WRITE, usedFlags } from "../../src/relay/ring-format.ts";
import {
  BATCH,
  BUFFER_BYTES,
  bufferGpa,
  guestViews,
  LAPS,
  perElement,
  ring,
  SIZE,
  stageFor,
  type Timing,
} from "./relay-setup.ts";

/**
 * The packed relay of this project; a call of the result is a run. All descriptors of a lap but the first of each batch
 * are prepared before the clock runs: as with real drivers and devices the first one's flags come last.
 */
export function packedRun(): () => Timing {
  const { stage, buffer } = stageFor(true);
  const relay = new PackedRelay({ ring, memory: stage.memory, buffer, offset: 0 });
  relay.start({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
  relay.setLogging({ log: stage.log, data: true, usedRingGpa: undefined });
  const guest = guestViews(stage, ring.descGpa);
  const ours = new Uint16Array(
    buffer.memory.window(0).u8.buffer,
    Number(relay.deviceQueue.desc - buffer.iova),
  );
  for (let i = 0; i < SIZE; i++) guest.u16[8 * i + 7] = 0;
  let wrap = 1;
  const offer = () => {
    const flags = DESC_WRITE | availFlags(wrap);
    for (let i = 0; i < SIZE; i++) {
      guest.u32[4 * i] = bufferGpa(i);
      guest.u32[4 * i + 1] = 0;
      guest.u32[4 * i + 2] = BUFFER_BYTES;
      guest.u16[8 * i + 6] = i;
      if (i % BATCH !== 0) guest.u16[8 * i + 7] = flags;
    }
  };
  const use = () => {
    const flags = DESC_WRITE | usedFlags(wrap);
    for (let i = 0; i < SIZE; i++) if (i % BATCH !== 0) ours[8 * i + 7] = flags;
  };
  const forward = () => {
    const flags = DESC_WRITE | availFlags(wrap);
    for (let from = 0; from < SIZE; from += BATCH) {
      guest.u16[8 * from + 7] = flags;
      relay.forward();
    }
  };
  const complete = () => {
    const flags = DESC_WRITE | usedFlags(wrap);
    for (let from = 0; from < SIZE; from += BATCH) {
      ours[8 * from + 7] = flags;
      relay.complete();
    }
  };
  const forwarding = new Float64Array(LAPS);
  const completing = new Float64Array(LAPS);
  return () => {
    for (let lap = 0; lap < LAPS; lap++) {
      offer();
      const t0 = performance.now();
      forward();
      const t1 = performance.now();
      use();
      const t2 = performance.now();
      complete();
      completing[lap] = 1e6 * (performance.now() - t2);
      forwarding[lap] = 1e6 * (t1 - t0);
      wrap ^= 1;
    }
    if (relay.fault) throw relay.fault;
    if (relay.outstanding > 0 || relay.counts.completed < LAPS * SIZE)
      throw new Error("the relay did not move");
    if (stage.loggedPages().length < SIZE / 2) throw new Error("the relay did not log");
    return { forward: perElement(forwarding), complete: perElement(completing) };
  };
}
