const END = -1;

/**
 * Copies of the ring descriptors of the chains that the device of a packed ring holds, by chain: completions are
 * written over descriptors of the guest's, so that the chains behind a hole would be lost otherwise. As all of them
 * come from the guest's ring, there are never more than its size.
 */
export class SavedChains {
  /**
   * Four words per descriptor: address low and high, length, and in the upper half of the last one the flags without
   * AVAIL and USED. A chain's first descriptor is at its id, the others come after all of these. The lower half of the
   * first one's last word is the buffer id that the guest gave the chain.
   */
  readonly words: Int32Array;
  /** The next descriptor of the same chain, or of those that are free. */
  readonly #next: Int32Array;
  #free = END;
  #last = 0;

  constructor(readonly size: number) {
    this.words = new Int32Array(8 * size);
    this.#next = new Int32Array(2 * size);
    this.clear();
  }

  clear(): void {
    this.#next.fill(END);
    for (let i = this.size; i + 1 < 2 * this.size; i++) this.#next[i] = i + 1;
    this.#free = this.size;
  }

  /** Saves the first descriptor of a chain whose earlier descriptors were released. */
  first(id: number, low: number, high: number, length: number, flags: number): void {
    this.#put(id, low, high, length, flags);
    this.#last = id;
  }

  /** Saves another descriptor of the chain that `first` has begun last. */
  add(low: number, high: number, length: number, flags: number): void {
    const at = this.#free;
    this.#free = this.#next[at]!;
    this.#put(at, low, high, length, flags);
    this.#next[at] = END;
    this.#next[this.#last] = at;
    this.#last = at;
  }

  /** Notes the guest's buffer id of the chain that `first` has begun last. */
  name(id: number, guestId: number): void {
    this.words[4 * id + 3] = (this.words[4 * id + 3]! & ~0xffff) | guestId;
  }

  guestId(id: number): number {
    return this.words[4 * id + 3]! & 0xffff;
  }

  /** Index (times 4) in `words` of the descriptor after another one, which for the first is the chain's id; or -1. */
  next(at: number): number {
    return this.#next[at]!;
  }

  release(id: number): void {
    for (let at = this.#next[id]!; at !== END; ) {
      const next = this.#next[at]!;
      this.#next[at] = this.#free;
      this.#free = at;
      at = next;
    }
    this.#next[id] = END;
  }

  #put(at: number, low: number, high: number, length: number, flags: number): void {
    const { words } = this;
    words[4 * at] = low;
    words[4 * at + 1] = high;
    words[4 * at + 2] = length;
    words[4 * at + 3] = flags << 16;
  }
}
