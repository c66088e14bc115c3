import { workerData } from "node:worker_threads";
import type { WorkerData } from "../../../src/daemon/messages.ts";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";

// The program's workers, but relay thread 1 dies in the middle of its work: some time after it has its rings.
const data = workerData as WorkerData;
const WAKES = 100;
if (data.role === "relay" && data.number === 1) {
  const runOnce = EventLoop.prototype.runOnce;
  let wakes = 0;
  EventLoop.prototype.runOnce = function (timeoutMs) {
    if (++wakes > WAKES) throw new Error("broken on purpose");
    return runOnce.call(this, timeoutMs);
  };
}
await import("../../../src/daemon/worker-entry.ts");
