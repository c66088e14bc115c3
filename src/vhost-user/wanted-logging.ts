import { OperatorError } from "../hw/operator-error.ts";
import type { DeviceLogging } from "../vdpa/vdpa-device.ts";
import type { Session } from "./session.ts";

/**
 * What features, log and rings of a session ask the device to log now; undefined for nothing.
 * @throws OperatorError (protocol) when a running device is to log and there is no log
 */
export function wantedLogging({ log, logsAll: data, device, rings }: Session): DeviceLogging | undefined {
  if (!log) {
    // Before the start the log may still come.
    if (!data || !device.running) return undefined;
    throw new OperatorError("LOG_ALL without a log", {
      why: "SET_LOG_BASE must come before it",
      kind: "protocol",
    });
  }
  const logged = rings.filter((ring) => ring.logUsed);
  if (!data && logged.length === 0) return undefined;
  return { log, data, usedRings: new Map(logged.map((ring) => [ring.index, ring.logGpa])) };
}
