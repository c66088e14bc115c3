import { Worker } from "node:worker_threads";
import type { SimFunction } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { spawnSim } from "../../../src/hw/sim/spawn.ts";

const ENTRY = new URL("./sim-worker.ts", import.meta.url);

/** A simulated device in a thread of its own. `ended` resolves once the thread is gone, after `fn.close()`. */
export function startSim(options: SimOptions = {}): { fn: SimFunction; ended: Promise<void> } {
  let ended: Promise<void> | undefined;
  const fn = spawnSim(options, (workerData) => {
    const worker = new Worker(ENTRY, { workerData });
    ended = new Promise((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
  });
  return { fn, ended: ended! };
}
