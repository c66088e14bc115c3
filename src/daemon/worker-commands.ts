import type { CommandTable } from "./command-inbox.ts";
import type { ServedDevice } from "./served-device.ts";

/** What the main thread may ask of the thread that serves `served`. */
export function workerCommands(served: ServedDevice): CommandTable {
  return {
    hold: ({ relay }) => served.device.holdInRelay(relay),
  };
}
