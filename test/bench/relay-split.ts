import { SplitRelay } from "../../src/relay/split-relay.ts";
import { BATCH, guestViews, LAPS, perElement, ring, SIZE, stageFor, type Timing } from "./relay-setup.ts";

/**
 * The split relay of this project; a call of the result is a run.
 * @param freshLog whether each lap meets a log without marks, as after a front-end's look, so that it has to set them
 */
export function splitRun(freshLog = false): () => Timing {
  const { stage, buffer } = stageFor(false);
  const relay = new SplitRelay({ ring, memory: stage.memory, buffer, offset: 0 });
  relay.start({ availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 });
  relay.setLogging({ log: stage.log, data: true, usedRingGpa: ring.deviceGpa });
  const avail = guestViews(stage, ring.driverGpa).u16;
  const usedAt = Number(relay.deviceQueue.device - buffer.iova);
  const used = new Uint32Array(buffer.memory.window(0).u8.buffer, usedAt);
  const usedIndex = new Uint16Array(used.buffer, usedAt);
  for (let i = 0; i < SIZE; i++) {
    used[1 + 2 * i] = i;
    used[2 + 2 * i] = 100;
  }
  let index = 0;
  const forward = () => {
    for (let done = BATCH; done <= SIZE; done += BATCH) {
      avail[1] = index + done;
      relay.forward();
    }
  };
  const complete = () => {
    for (let done = BATCH; done <= SIZE; done += BATCH) {
      usedIndex[1] = index + done;
      relay.complete();
    }
  };
  const forwarding = new Float64Array(LAPS);
  const completing = new Float64Array(LAPS);
  return () => {
    for (let lap = 0; lap < LAPS; lap++) {
      const t0 = performance.now();
      forward();
      const t1 = performance.now();
      if (freshLog) stage.log.words.fill(0);
      const t2 = performance.now();
      complete();
      completing[lap] = 1e6 * (performance.now() - t2);
      forwarding[lap] = 1e6 * (t1 - t0);
      index += SIZE;
    }
    if (relay.fault) throw relay.fault;
    if (relay.outstanding > 0 || relay.counts.completed < LAPS * SIZE)
      throw new Error("the relay did not move");
    if (stage.loggedPages().length < SIZE / 2) throw new Error("the relay did not log");
    return { forward: perElement(forwarding), complete: perElement(completing) };
  };
}
