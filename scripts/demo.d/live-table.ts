import { styleText } from "node:util";
import type { PairReport } from "../../test/support/front-end/traffic.ts";

const REDRAW_MS = 100;
const PLAIN_MS = 1000;

/** Text in a style where the terminal shows it (NO_COLOR and pipes are respected). */
export const paint = (style: Parameters<typeof styleText>[0], text: string) =>
  styleText(style, text, { stream: process.stdout });

/** 1234567 → `1,234,567`. */
export const count = (n: number) => Math.round(n).toLocaleString("en-US");

const redraws = process.stdout.isTTY && process.env["TERM"] !== "dumb";

/** Frames out and in per pair: redrawn in place on a terminal, a line per second elsewhere. */
export class LiveTable {
  readonly #start = performance.now();
  #last = this.#start;
  #before: number[] = [];
  #height = 0;

  constructor(readonly seconds: number) {}

  /** Shows the state if it is time to. */
  update(reports: readonly PairReport[]): void {
    const now = performance.now();
    if (now - this.#last < (redraws ? REDRAW_MS : PLAIN_MS)) return;
    this.#show(reports, now);
  }

  /** Shows the last state on a terminal, with the rates of the whole run. */
  finish(reports: readonly PairReport[]): void {
    const elapsed = (performance.now() - this.#start) / 1000;
    if (redraws)
      this.#redraw(
        reports,
        reports.map((r) => r.returned / elapsed),
        this.seconds,
      );
  }

  #show(reports: readonly PairReport[], now: number): void {
    const interval = Math.max(now - this.#last, 1) / 1000;
    const rates = reports.map((r, i) => Math.max(0, r.returned - (this.#before[i] ?? 0)) / interval);
    this.#last = now;
    this.#before = reports.map((r) => r.returned);
    const elapsed = Math.min((now - this.#start) / 1000, this.seconds);
    if (redraws) this.#redraw(reports, rates, elapsed);
    else {
      const sum = (of: (r: PairReport) => number) => reports.reduce((total, r) => total + of(r), 0);
      const rate = count(rates.reduce((a, b) => a + b, 0));
      const [out, back] = [count(sum((r) => r.sent)), count(sum((r) => r.returned))];
      console.log(`  ${elapsed.toFixed(1)} s: ${out} frames out, ${back} back, ${rate} frames/s`);
    }
  }

  #redraw(reports: readonly PairReport[], rates: readonly number[], elapsed: number): void {
    const row = (...cells: string[]) =>
      "  " + cells.map((cell, i) => (i === 0 ? cell.padEnd(12) : cell.padStart(13))).join("");
    const lines = [
      paint("dim", row("queue pair", "frames out", "frames back", "on the way", "frames/s")),
      ...reports.map((r, i) =>
        row(`${r.pair}`, count(r.sent), count(r.returned), count(r.sent - r.returned), count(rates[i]!)),
      ),
      `  ${bar(elapsed / this.seconds)} ${elapsed.toFixed(1)} of ${this.seconds} s`,
    ];
    const up = this.#height > 0 ? `\x1b[${this.#height}A` : "";
    process.stdout.write(up + lines.map((line) => `\x1b[2K${line}\n`).join(""));
    this.#height = lines.length;
  }
}

function bar(part: number): string {
  const width = 40;
  const full = Math.round(width * Math.min(part, 1));
  return paint("green", "━".repeat(full)) + paint("dim", "─".repeat(width - full));
}
