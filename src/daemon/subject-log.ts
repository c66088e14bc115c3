import type { Log } from "../hw/log.ts";

/** The same log, its lines about one subject, as a worker's with the `subject` of its settings. */
export function subjectLog(log: Log, subject: string): Log {
  return {
    debug: (text) => log.debug(`${subject}: ${text}`),
    info: (text) => log.info(`${subject}: ${text}`),
    warn: (text) => log.warn(`${subject}: ${text}`),
    error: (text) => log.error(`${subject}: ${text}`),
  };
}
