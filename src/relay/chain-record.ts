/** Most further buffers of all chains of a ring that are remembered at a time. */
const MAX_POOL = 2 ** 18;
const NONE = -1;

/**
 * The device-writable buffers of the chains that the device holds, as they were when it got them: what is logged on
 * completion does not depend on what the guest's descriptors say by then. One buffer per chain is kept in place;
 * further ones come from a pool that grows up to a limit, beyond which chains have to wait.
 */
export class ChainRecord {
  /** Device-writable bytes per chain. */
  readonly writable: Float64Array;
  /** Pages of the first writable buffer per chain: the first and how many. */
  readonly firstPage: Float64Array;
  readonly pages: Uint32Array;
  /** The chain's next buffer in the pool, -1 for none. */
  readonly more: Int32Array;
  #poolPage: Float64Array;
  #poolPages: Uint32Array;
  #poolNext: Int32Array;
  #free = NONE;
  #poolSize = 0;
  readonly #poolLimit: number;

  constructor(readonly size: number) {
    this.writable = new Float64Array(size);
    this.firstPage = new Float64Array(size);
    this.pages = new Uint32Array(size);
    this.more = new Int32Array(size);
    this.#poolLimit = Math.max(2 * size, MAX_POOL);
    this.#poolPage = new Float64Array(0);
    this.#poolPages = new Uint32Array(0);
    this.#poolNext = new Int32Array(0);
    this.clear();
  }

  clear(): void {
    this.writable.fill(0);
    this.pages.fill(0);
    this.more.fill(NONE);
    this.#free = NONE;
    for (let i = this.#poolSize - 1; i >= 0; i--) this.#release(i);
  }

  begin(id: number): void {
    this.writable[id] = 0;
    this.pages[id] = 0;
    this.more[id] = NONE;
  }

  /** Adds a writable buffer; false when there is no room for it. */
  add(id: number, gpa: number, length: number): boolean {
    const page = Math.floor(gpa / 4096);
    const count = Math.floor((gpa + length - 1) / 4096) - page + 1;
    if (this.pages[id] === 0) {
      this.firstPage[id] = page;
      this.pages[id] = count;
    } else {
      if (this.#free === NONE && !this.#grow()) return false;
      const at = this.#free;
      this.#free = this.#poolNext[at]!;
      this.#poolPage[at] = page;
      this.#poolPages[at] = count;
      this.#poolNext[at] = this.more[id]!;
      this.more[id] = at;
    }
    this.writable[id]! += length;
    return true;
  }

  /** Calls back for each buffer but the first, and forgets the chain. */
  finish(id: number, mark: ((page: number, pages: number) => void) | undefined): void {
    for (let at = this.more[id]!; at !== NONE; ) {
      mark?.(this.#poolPage[at]!, this.#poolPages[at]!);
      const next = this.#poolNext[at]!;
      this.#release(at);
      at = next;
    }
    this.more[id] = NONE;
  }

  #release(at: number): void {
    this.#poolNext[at] = this.#free;
    this.#free = at;
  }

  #grow(): boolean {
    if (this.#poolSize >= this.#poolLimit) return false;
    const old = this.#poolSize;
    const size = Math.min(Math.max(2 * old, 256), this.#poolLimit);
    const grown = <T extends { set(from: T): void }>(bigger: T, from: T): T => {
      bigger.set(from);
      return bigger;
    };
    this.#poolPage = grown(new Float64Array(size), this.#poolPage);
    this.#poolPages = grown(new Uint32Array(size), this.#poolPages);
    this.#poolNext = grown(new Int32Array(size), this.#poolNext);
    this.#poolSize = size;
    for (let i = size - 1; i >= old; i--) this.#release(i);
    return true;
  }
}
