/** A ring's start by the front-end. Changes of mode afterwards are none: the ring goes on. */
export interface RingStart {
  /** Different for every start. */
  readonly id: number;
  /** The vring base from which it began. */
  readonly base: number;
}

/** A guest may move to another device, so that ids are the program's. */
let lastId = 0;

/** Which start of its ring each queue is in. */
export class RingStarts {
  readonly #starts = new Map<number, RingStart>();

  begin(vrings: readonly { readonly index: number; readonly base: number }[]): void {
    for (const { index, base } of vrings) this.#starts.set(index, { id: ++lastId, base });
  }

  of(index: number): RingStart | undefined {
    return this.#starts.get(index);
  }
}
