/**
 * Copies of the ring descriptors of the chains that the device of a packed ring holds, by chain: completions are
 * written over descriptors of the guest's, so that the chains behind a hole would be lost otherwise. As all of them
 * come from the guest's ring, there are never more than its size.
 */
export class SavedChains {
  /** Address low and high, length, and flags (without AVAIL and USED) in the upper half of the last word. */
  readonly words: Uint32Array;
  /** The next descriptor of the same chain, -1 at its end; of the free ones likewise. */
  readonly #next: Int32Array;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  #free = -1;

  constructor(readonly size: number) {
    this.words = new Uint32Array(4 * size);
    this.#next = new Int32Array(size);
    this.#first = new Int32Array(size);
    this.#last = new Int32Array(size);
    this.clear();
  }

  clear(): void {
    for (let i = 0; i < this.size; i++) this.#next[i] = i + 1 < this.size ? i + 1 : -1;
    this.#free = 0;
    this.#first.fill(-1);
  }

  begin(id: number): void {
    this.#first[id] = -1;
  }

  add(id: number, low: number, high: number, length: number, flags: number): void {
    const at = this.#free;
    this.#free = this.#next[at]!;
    const { words } = this;
    words[4 * at] = low;
    words[4 * at + 1] = high;
    words[4 * at + 2] = length;
    words[4 * at + 3] = flags << 16;
    this.#next[at] = -1;
    if (this.#first[id] === -1) this.#first[id] = at;
    else this.#next[this.#last[id]!] = at;
    this.#last[id] = at;
  }

  /** Index of a chain's first descriptor in `words` (times 4), -1 when there is none. */
  first(id: number): number {
    return this.#first[id]!;
  }

  next(at: number): number {
    return this.#next[at]!;
  }

  release(id: number): void {
    const first = this.#first[id]!;
    if (first === -1) return;
    this.#next[this.#last[id]!] = this.#free;
    this.#free = first;
    this.#first[id] = -1;
  }
}
