import { createConsola, type LogType } from "consola/core";
import type { Log } from "../hw/log.ts";
import { oneLine, painter, type Style, writeNow } from "./terminal.ts";

/** How a log looks and how much it says. Plain data, so that it can be sent to a worker. */
export interface LogSettings {
  readonly level: "quiet" | "normal" | "verbose";
  readonly color: boolean;
  /** Begin lines with journald's priorities (sd-daemon(3)). */
  readonly journald: boolean;
  /** What the lines are about, in front of their text: the device, where a process serves several. */
  readonly subject?: string;
}

const LEVELS = { quiet: 1, normal: 3, verbose: 4 } as const;
const KINDS: Partial<Record<LogType, { label: string; style: Style; priority: number }>> = {
  error: { label: "error: ", style: "red", priority: 3 },
  warn: { label: "warning: ", style: "yellow", priority: 4 },
  debug: { label: "debug: ", style: "dim", priority: 7 },
};

/**
 * A log on standard error. Each call writes its line before it returns, so it works in a worker that blocks in the
 * kernel and never comes back to its event loop.
 * @param write for tests
 */
export function createLog(
  { level, color, journald, subject }: LogSettings,
  write: (line: string) => void = writeToStderr,
): Log {
  const paint = painter(color && !journald);
  const about = subject === undefined ? "" : `${subject}: `;
  return createConsola({
    level: LEVELS[level],
    // consola holds repeated messages back with a timer, which would never fire in such a worker.
    throttle: Number.NEGATIVE_INFINITY,
    reporters: [
      {
        log({ type, args }) {
          const kind = KINDS[type];
          const text = oneLine(about + args.join(" "));
          const priority = journald ? `<${kind?.priority ?? 6}>` : "";
          // In the journal the priority says it already.
          const label = kind && !journald ? paint(kind.style, kind.label) : "";
          write(`${priority}${label}${text}\n`);
        },
      },
    ],
  });
}

/** A log nobody can read is no reason to stop serving. */
function writeToStderr(line: string): void {
  try {
    writeNow(2, line);
  } catch {}
}
