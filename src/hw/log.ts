import type { LogEventName } from "./log-events.ts";
import type { TraceValue } from "./trace.ts";

/** What a line says besides its text, under keys that stay the same. Its values are plain data for JSON. */
export interface LogFields {
  /** Full BDF, or the name of a simulated device; without it, the device whose log it is. */
  readonly device?: string | undefined;
  /** Queue of the device, which is also the number of its vring. */
  readonly queue?: number | undefined;
  /** Of vhost-user, by its name in the protocol. */
  readonly message?: string | undefined;
  /** What failed, as its text has it too. */
  readonly error?: string | undefined;
  /** Why something is as it is. */
  readonly reason?: string | undefined;
  readonly [key: string]: TraceValue | undefined;
}

/** What happened. */
export interface LogEvent extends LogFields {
  readonly event: LogEventName;
}

/**
 * Where the parts below the command line report events: one line per event, written at once, as text or as JSON.
 * Implemented by src/cli/log.ts; tests collect the lines.
 */
export interface Log {
  debug(text: string, event: LogEvent): void;
  info(text: string, event: LogEvent): void;
  warn(text: string, event: LogEvent): void;
  error(text: string, event: LogEvent): void;
}
