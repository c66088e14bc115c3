/** Shows another thread that a long step gets on. Written by one thread. */
export class Pulse {
  readonly #beats: Int32Array;

  /** @param memory what `memory` of another thread's pulse gave; new memory when absent */
  constructor(readonly memory = new SharedArrayBuffer(4)) {
    this.#beats = new Int32Array(memory);
  }

  beat(): void {
    Atomics.add(this.#beats, 0, 1);
  }

  get beats(): number {
    return Atomics.load(this.#beats, 0);
  }
}
