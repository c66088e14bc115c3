import { createLog } from "../cli/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import { Counters } from "../vdpa/counters.ts";
import { RelayServer } from "../vdpa/relay-threads/relay-server.ts";
import type { RelayWorkerData } from "./messages.ts";

/**
 * A thread that moves the entries of relayed rings for the device's thread. It blocks in the kernel until a guest, the
 * device or the device's thread wants something. An error here ends the service: the device's thread hears of it.
 */
export function runRelayWorker(data: RelayWorkerData): void {
  const log = createLog(data.log);
  const server = new RelayServer(data.link, data.number, new Counters(data.counters), log);
  try {
    server.run();
  } catch (error) {
    log.error(`relay thread ${data.number} has died: ${messageOf(error)}`, {
      event: "relay_thread_died",
      thread: data.number,
      error: messageOf(error),
    });
  }
}
