import { workerData } from "node:worker_threads";
import type { WorkerData } from "../../../src/daemon/messages.ts";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";

// The program's workers, but two threads that serve devices meet with errors of our own that nobody has thought of: that
// of "sim1" ends once a front-end wakes it, and that of "sim3" before it has begun. They give nothing back.
const data = workerData as WorkerData;
const name = data.role === "device" && data.target.kind === "sim" ? data.target.name : undefined;
if (name === "sim1") {
  EventLoop.prototype.run = function () {
    this.runOnce(-1);
    process.exit(1);
  };
}
if (name === "sim3") throw new Error("broken on purpose");
await import("../../../src/daemon/worker-entry.ts");
