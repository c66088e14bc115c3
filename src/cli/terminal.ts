import { fstatSync, writeSync } from "node:fs";
import { isErrno } from "../hw/ffi/errno.ts";

/** What decides how things look. */
export interface TerminalEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether standard output (1) or error (2) is a terminal. */
  isTerminal(fd: 1 | 2): boolean;
}

export type Style = "bold" | "dim" | "red" | "yellow" | "green" | "cyan";
/** Puts text into a style, or leaves it alone where there are no colours. */
export type Paint = (style: Style, text: string) => string;

const SGR: Record<Style, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  yellow: [33, 39],
  green: [32, 39],
  cyan: [36, 39],
};

/** Colours only on a terminal that can show them and where nobody has asked for none (no-color.org). */
export function wantsColor(fd: 1 | 2, { env, isTerminal }: TerminalEnvironment, noColor: boolean): boolean {
  return !noColor && !env["NO_COLOR"] && env["TERM"] !== "dumb" && isTerminal(fd);
}

export const painter =
  (color: boolean): Paint =>
  (style, text) =>
    color ? `\x1b[${SGR[style][0]}m${text}\x1b[${SGR[style][1]}m` : text;

/** Whether an fd is the stream that systemd hands to the journal (systemd.exec(5), JOURNAL_STREAM). */
export function isJournal(fd: number, env: TerminalEnvironment["env"]): boolean {
  const [device, inode] = (env["JOURNAL_STREAM"] ?? "").split(":");
  if (!device || !inode) return false;
  const stat = fstatSync(fd, { bigint: true });
  return String(stat.dev) === device && String(stat.ino) === inode;
}

/** Makes text from elsewhere one line that moves no cursor: control characters become blanks. */
export function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return text.replace(/\s*[\r\n]+\s*/g, "; ").replace(/[\x00-\x1f\x7f-\x9f]+/g, " ");
}

/** Nobody reads standard output any more. */
export class BrokenPipe extends Error {}

/**
 * Writes all of it to an inherited fd before it returns, with no event loop needed.
 * @throws BrokenPipe when the reader has gone
 */
export function writeNow(fd: number, text: string): void {
  const bytes = Buffer.from(text, "utf8");
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      if (isErrno(error, "EPIPE")) throw new BrokenPipe();
      // Whoever started us may have made the pipe non-blocking; a full pipe is then waited for as usual.
      if (isErrno(error, "EAGAIN")) Atomics.wait(IDLE, 0, 0, 5);
      else if (!isErrno(error, "EINTR")) throw error;
    }
  }
}

const IDLE = new Int32Array(new SharedArrayBuffer(4));
