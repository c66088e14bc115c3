import type { Output } from "./output.ts";

/**
 * Lines at the end of a terminal that are drawn anew in place. Lines longer than the terminal is wide are cut, as
 * they would take a second row and the cursor would not find back; lines beyond its height are left out.
 */
export class LiveRegion {
  #height = 0;

  constructor(
    private readonly output: Output,
    private readonly size = () => ({
      width: process.stdout.columns || 80,
      height: process.stdout.rows || 24,
    }),
  ) {}

  /** Replaces what is shown. */
  show(text: string): void {
    const { width, height } = this.size();
    const all = text.replace(/\n$/, "").split("\n");
    const most = Math.max(1, height - 2);
    const kept = all.length > most ? [...all.slice(0, most), `… ${all.length - most} more lines`] : all;
    const lines = kept.map((line) => cut(line, width));
    const up = this.#height > 0 ? `\x1b[${this.#height}A` : "";
    // What was there of a longer text is erased, too.
    this.output.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join("")}\x1b[J`);
    this.#height = lines.length;
  }

  /** What is shown stays there. */
  end(): void {
    this.#height = 0;
  }
}

function cut(line: string, width: number): string {
  if (Bun.stringWidth(line) <= width) return line;
  let short = "";
  for (const character of Bun.stripANSI(line)) {
    if (Bun.stringWidth(short + character) >= width) break;
    short += character;
  }
  return `${short}…`;
}
