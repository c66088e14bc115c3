import type { Log } from "../../../src/hw/log.ts";

/** A log that keeps its lines as `level text`. */
export class CollectedLog implements Log {
  readonly lines: string[] = [];
  readonly debug = (text: string) => void this.lines.push(`debug ${text}`);
  readonly info = (text: string) => void this.lines.push(`info ${text}`);
  readonly warn = (text: string) => void this.lines.push(`warn ${text}`);
  readonly error = (text: string) => void this.lines.push(`error ${text}`);
}
