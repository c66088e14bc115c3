import type { Output } from "./output.ts";

/**
 * Lines at the end of a terminal that are drawn anew in place. Lines longer than the terminal is wide are cut, as
 * they would take a second row and the cursor would not find back.
 */
export class LiveRegion {
  #height = 0;

  constructor(
    private readonly output: Output,
    private readonly width: () => number = () => process.stdout.columns || 80,
  ) {}

  /** Replaces what is shown. */
  show(text: string): void {
    const lines = text
      .replace(/\n$/, "")
      .split("\n")
      .map((line) => cut(line, this.width()));
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
