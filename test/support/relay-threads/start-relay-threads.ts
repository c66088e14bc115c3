import { Worker } from "node:worker_threads";
import type { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import type { Counters } from "../../../src/vdpa/counters.ts";
import { createRelayLink } from "../../../src/vdpa/relay-threads/link.ts";
import { RelayThreads } from "../../../src/vdpa/relay-threads/relay-threads.ts";
import { ORDER, type RelayThreadData } from "./relay-worker.ts";

const ENTRY = new URL("./relay-worker.ts", import.meta.url);

export interface StartedRelayThreads {
  readonly threads: RelayThreads;
  /** Resolves once all threads are gone, after `threads.close()`. */
  readonly ended: Promise<unknown>;
  /** Lets a thread die or hang once it wakes, or lets one that hangs go on. */
  order(thread: number, what: keyof typeof ORDER): void;
}

/** So many relay threads for a device that `loop` serves. */
export function startRelayThreads(
  count: number,
  loop: EventLoop,
  counters: Counters,
  limitMs?: number,
): StartedRelayThreads {
  const started = Array.from({ length: count }, (_, number) => {
    const link = createRelayLink();
    const order = new SharedArrayBuffer(4);
    const workerData: RelayThreadData = { link, number, counters: counters.memory, order };
    const worker = new Worker(ENTRY, { workerData });
    const ended = new Promise<void>((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
    return { link, ended, word: new Int32Array(order) };
  });
  return {
    threads: new RelayThreads(
      started.map(({ link }) => link),
      loop,
      limitMs,
    ),
    ended: Promise.all(started.map(({ ended }) => ended)),
    order(thread, what) {
      const { word } = started[thread]!;
      Atomics.store(word, 0, ORDER[what]);
      Atomics.notify(word, 0);
    },
  };
}
