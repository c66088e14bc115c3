import { connectSim, createSimLink, type SimFunction } from "./link.ts";
import type { SimLink } from "./mailbox.ts";
import type { SimOptions } from "./sim-options.ts";

/**
 * Starts a simulated device in a thread of its own and connects to it.
 * @param startWorker starts a worker that calls `runSimWorker(link, options, log)`; the worker ends after `close`
 */
export function spawnSim(
  options: SimOptions,
  startWorker: (data: { role: "sim"; link: SimLink; options: SimOptions }) => unknown,
): SimFunction {
  const link = createSimLink();
  startWorker({ role: "sim", link, options });
  return connectSim(link);
}
