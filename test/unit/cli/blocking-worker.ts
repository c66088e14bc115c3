import { isMainThread, Worker } from "node:worker_threads";
import { createLog } from "../../../src/cli/log.ts";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";

// Started by log.test.ts as a program: the worker says something and then blocks in the kernel for ever.
if (isMainThread) new Worker(new URL(import.meta.url));
else {
  const log = createLog({ level: "normal", format: "text", color: false, journald: false });
  for (let i = 0; i < 20; i++) log.warn(`line ${i}`, { event: "nothing_to_do" });
  new EventLoop().run();
}
