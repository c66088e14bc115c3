import type { Log } from "../../../src/hw/log.ts";

/** A log that keeps its lines as `level: text`. */
export class CollectedLog implements Log {
  readonly lines: string[] = [];

  debug(text: string): void {
    this.lines.push(`debug: ${text}`);
  }

  info(text: string): void {
    this.lines.push(`info: ${text}`);
  }

  warn(text: string): void {
    this.lines.push(`warn: ${text}`);
  }

  error(text: string): void {
    this.lines.push(`error: ${text}`);
  }
}
