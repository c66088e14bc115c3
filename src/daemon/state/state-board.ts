/** Int32 cells in front of the text. */
const SEQUENCE = 0;
const LENGTH = 1;
const EPOCH = 2;
const HEADER_BYTES = 64;
/** A state of 257 queues and 509 regions takes about a quarter of it. */
const TEXT_MAX = 1 << 20;
/** Looks at a board that is being written, 1 ms apart after the first few. */
const LOOKS = 200;

export interface BoardReading {
  readonly text: string;
  /** For `isStill`. */
  readonly epoch: number;
}

/**
 * Where a thread shows what it is doing, as text in memory that threads share: it is written by one thread and read by
 * others, which never wake or hinder the writer (a sequence lock: its number is odd while the text is being written).
 *
 * The epoch tells whether addresses in the text are still good: it is odd from `beginChange`, before anything changes,
 * until the changes are on the board.
 */
export class StateBoard {
  readonly #header: Int32Array;
  readonly #text: Uint8Array;
  readonly #pause = new Int32Array(new SharedArrayBuffer(4));

  /** @param memory what `memory` of another thread's board gave; new memory when absent */
  constructor(readonly memory = new SharedArrayBuffer(HEADER_BYTES + TEXT_MAX)) {
    this.#header = new Int32Array(memory, 0, HEADER_BYTES / 4);
    this.#text = new Uint8Array(memory, HEADER_BYTES);
  }

  /** What is on the board may no longer be so. */
  beginChange(): void {
    if (this.epoch % 2 === 0) Atomics.add(this.#header, EPOCH, 1);
  }

  /** Puts a text on the board. False when it is too long, and the board stays as it was. */
  write(text: string): boolean {
    const bytes = Buffer.from(text, "utf8");
    if (bytes.length > this.#text.length) return false;
    Atomics.add(this.#header, SEQUENCE, 1);
    this.#text.set(bytes);
    this.#header[LENGTH] = bytes.length;
    Atomics.add(this.#header, SEQUENCE, 1);
    if (this.epoch % 2 === 1) Atomics.add(this.#header, EPOCH, 1);
    return true;
  }

  get epoch(): number {
    return Atomics.load(this.#header, EPOCH);
  }

  /** Whether nothing has begun to change since a reading. */
  isStill(reading: BoardReading): boolean {
    return reading.epoch % 2 === 0 && this.epoch === reading.epoch;
  }

  /** The text on the board; undefined before the first, or when the writer died while writing. */
  read(): BoardReading | undefined {
    for (let look = 0; look < LOOKS; look++) {
      if (look > 10) Atomics.wait(this.#pause, 0, 0, 1);
      const epoch = this.epoch;
      const before = Atomics.load(this.#header, SEQUENCE);
      if (before === 0) return undefined;
      if (before % 2 === 1) continue;
      const bytes = Buffer.from(this.#text.slice(0, this.#header[LENGTH]));
      if (Atomics.load(this.#header, SEQUENCE) === before) return { text: bytes.toString("utf8"), epoch };
    }
    return undefined;
  }
}
