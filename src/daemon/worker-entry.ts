import { workerData } from "node:worker_threads";
import { createLog } from "../cli/log.ts";
import type { WorkerData } from "./messages.ts";

// A worker of the compiled program is the program itself; this tells which part of it the worker is.
const data = workerData as WorkerData;
if (data.role === "sim") {
  const { runSimWorker } = await import("../hw/sim/worker.ts");
  runSimWorker(data.link, data.options, createLog(data.log), data.faultSwitch);
} else if (data.role === "relay") {
  const { runRelayWorker } = await import("./relay-worker.ts");
  runRelayWorker(data);
} else {
  const { runDeviceWorker } = await import("./device-worker.ts");
  runDeviceWorker(data);
}
