import { createConsola } from "consola/core";
import type { Log, LogEvent } from "../hw/log.ts";
import type { Trace } from "../hw/trace.ts";
import { type LogLevel, type LogSettings, logLine } from "./log-line.ts";
import { writeNow } from "./terminal.ts";

export type { LogFormat, LogSettings } from "./log-line.ts";

const LEVELS = { quiet: 1, normal: 3, verbose: 4 } as const;

/**
 * A log on standard error. Each call writes its line before it returns, so it works in a worker that blocks in the
 * kernel and never comes back to its event loop.
 * @param write for tests
 */
export function createLog(settings: LogSettings, write: (line: string) => void = writeToStderr): Log {
  return createConsola({
    level: LEVELS[settings.level],
    // consola holds repeated messages back with a timer, which would never fire in such a worker.
    throttle: Number.NEGATIVE_INFINITY,
    reporters: [
      {
        log({ type, args }) {
          const [text, event] = args as [string, LogEvent];
          write(logLine(settings, type as LogLevel, text, event));
        },
      },
    ],
  });
}

/** Tells what passes, however little else the log says. As `createLog`, it works in a worker. */
export function createTrace(settings: LogSettings, write: (line: string) => void = writeToStderr): Trace {
  return (text, event) => write(logLine(settings, "trace", text, event));
}

/** A log nobody can read is no reason to stop serving. */
function writeToStderr(line: string): void {
  try {
    writeNow(2, line);
  } catch {}
}
