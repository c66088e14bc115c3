// Text that arrives bit by bit, with somebody waiting for a pattern in it. Also kept in a log file.
import { closeSync, openSync, writeSync } from "node:fs";
import { GENEROUS_SECONDS, TimedOut } from "./until.ts";

interface Waiter {
  pattern: RegExp;
  resolve(match: RegExpMatchArray): void;
  reject(error: Error): void;
  timer: Timer;
}

export class TextStream {
  /** All text so far. */
  text = "";
  /** Where the search for the next pattern starts: behind the last match. */
  #cursor = 0;
  #waiter: Waiter | undefined;
  #closed = false;
  readonly #log: number;

  constructor(
    readonly name: string,
    logFile: string,
  ) {
    this.#log = openSync(logFile, "a");
  }

  push(text: string): void {
    writeSync(this.#log, text);
    this.text += text;
    this.#search();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#log);
    this.#settle((waiter) => waiter.reject(new Error(`${this.name} ended before it said ${waiter.pattern}`)));
  }

  /** Forgets what was not yet matched, so that only later text counts. */
  skip(): void {
    this.#cursor = this.text.length;
  }

  /** The first match behind the last one. One waiter at a time. */
  expect(pattern: RegExp, seconds = GENEROUS_SECONDS): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      if (this.#waiter !== undefined) throw new Error(`${this.name} is already being waited for`);
      const timer = setTimeout(() => {
        this.#settle((waiter) => {
          const end = this.text.slice(-400);
          waiter.reject(
            new TimedOut(`${this.name} did not say ${pattern} within ${seconds} s; its end: ${end}`),
          );
        });
      }, seconds * 1000);
      this.#waiter = { pattern, resolve, reject, timer };
      this.#search();
      if (this.#closed)
        this.#settle((waiter) => waiter.reject(new Error(`${this.name} ended without ${pattern}`)));
    });
  }

  #search(): void {
    const match = this.#waiter && this.text.slice(this.#cursor).match(this.#waiter.pattern);
    if (!match) return;
    this.#cursor += match.index! + match[0].length;
    this.#settle((waiter) => waiter.resolve(match));
  }

  #settle(action: (waiter: Waiter) => void): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    this.#waiter = undefined;
    clearTimeout(waiter.timer);
    action(waiter);
  }
}
