import { workerData } from "node:worker_threads";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { Counters } from "../../../src/vdpa/counters.ts";
import type { RelayLink } from "../../../src/vdpa/relay-threads/link.ts";
import { RelayServer } from "../../../src/vdpa/relay-threads/relay-server.ts";
import { CollectedLog } from "../virtio-driver/collected-log.ts";

/** What a relay thread of the tests is told. */
export interface RelayThreadData {
  readonly link: RelayLink;
  readonly number: number;
  readonly counters: SharedArrayBuffer;
  /** One word: what is to go wrong the next time the thread wakes. */
  readonly order: SharedArrayBuffer;
}

export const ORDER = { NONE: 0, DIE: 1, HANG: 2 } as const;

if (workerData) {
  const { link, number, counters, order } = workerData as RelayThreadData;
  const word = new Int32Array(order);
  const runOnce = EventLoop.prototype.runOnce;
  EventLoop.prototype.runOnce = function (timeoutMs) {
    const events = runOnce.call(this, timeoutMs);
    // Until the test gives another order.
    Atomics.wait(word, 0, ORDER.HANG);
    if (Atomics.load(word, 0) === ORDER.DIE) throw new Error("broken on purpose");
    return events;
  };
  try {
    new RelayServer(link, number, new Counters(counters), new CollectedLog()).run();
  } catch (error) {
    if ((error as Error).message !== "broken on purpose") throw error;
  }
}
