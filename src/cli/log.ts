import { createConsola } from "consola/core";
import type { Log, LogEvent } from "../hw/log.ts";
import type { Trace } from "../hw/trace.ts";
import { type LogLevel, type LogSettings, logLine, type Verbosity } from "./log-line.ts";
import { writeNow } from "./terminal.ts";

export type { LogFormat, LogSettings, Verbosity } from "./log-line.ts";

const LEVELS = { quiet: 1, normal: 3, verbose: 4 } as const;

/**
 * A log on standard error. Each call writes its line before it returns, so it works in a worker that blocks in the
 * kernel and never comes back to its event loop.
 * @param write for tests
 */
export function createLog(settings: LogSettings, write: (line: string) => void = writeToStderr): Log {
  const { current } = settings;
  const log = createConsola({
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
  // consola asks for its level at each call.
  if (current) Object.defineProperty(log.options, "level", { get: () => Atomics.load(current, 0) });
  return log;
}

/** Settings whose level can be changed while threads log by them. */
export function changeable(settings: LogSettings): LogSettings {
  const current = new Int32Array(new SharedArrayBuffer(4));
  current[0] = LEVELS[settings.level];
  return { ...settings, current };
}

/** Changes what the logs say that go by these settings. */
export function changeLevel({ current }: LogSettings, level: Verbosity): void {
  if (current) Atomics.store(current, 0, LEVELS[level]);
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
