/** Most further buffers of all chains of a ring that are remembered at a time. */
const MAX_POOL = 2 ** 18;
const NONE = -1;

/** Offsets in the four words that `ChainRecord.words` has per chain. */
export const PAGE = 0;
export const PAGES = 1;
/** The chain's next buffer in the pool, `NONE_MORE`, or `FREE` while the device does not hold the chain. */
export const MORE = 2;
/** Device-writable bytes as a u32, at most 2^32 - 1, as a used length can say no more. */
export const WRITABLE = 3;

export const NONE_MORE = NONE;
export const FREE = -2;

/** The guest address (8 TiB) from which page numbers do not fit into a word. */
const FAR_GPA = 2 ** 43;

/**
 * The device-writable buffers of the chains that the device holds, as they were when it got them: what is logged on
 * completion does not depend on what the guest's descriptors say by then. The first buffer of a chain is kept in
 * place; further ones, and those above 8 TiB, come from a pool that grows up to a limit, beyond which chains have to
 * wait.
 */
export class ChainRecord {
  /** Per chain: first page and count of the first writable buffer, `MORE`, `WRITABLE`. */
  readonly words: Int32Array;
  #poolPage = new Float64Array(0);
  #poolPages = new Uint32Array(0);
  #poolNext = new Int32Array(0);
  #free = NONE;
  readonly #poolLimit: number;

  constructor(readonly size: number) {
    this.words = new Int32Array(4 * size);
    this.#poolLimit = Math.max(2 * size, MAX_POOL);
    this.clear();
  }

  clear(): void {
    this.words.fill(0);
    for (let id = 0; id < this.size; id++) this.words[4 * id + MORE] = FREE;
    this.#free = NONE;
    for (let i = this.#poolNext.length - 1; i >= 0; i--) this.#release(i);
  }

  /**
   * Takes a chain of one descriptor whose words are given as signed numbers, if it lies in the pages from `firstPage`
   * to before `endPage` and is nothing special; the slow way judges it otherwise.
   */
  takeSingle(
    id: number,
    low: number,
    high: number,
    length: number,
    write: boolean,
    firstPage: number,
    endPage: number,
  ): boolean {
    // 8 TiB have 11 bits above the first 32. A negative length has 2 GiB or more.
    if (high >>> 11 !== 0 || length <= 0) return false;
    const page = (high << 20) | (low >>> 12);
    const pages = (((low & 0xfff) + (length - 1)) >>> 12) + 1;
    if (page < firstPage || page + pages > endPage) return false;
    const { words } = this;
    const at = 4 * id;
    words[at + PAGE] = page;
    words[at + PAGES] = write ? pages : 0;
    words[at + MORE] = NONE;
    words[at + WRITABLE] = write ? length : 0;
    return true;
  }

  isHeld(id: number): boolean {
    return this.words[4 * id + MORE] !== FREE;
  }

  begin(id: number): void {
    const at = 4 * id;
    this.words[at + PAGES] = 0;
    this.words[at + MORE] = NONE;
    this.words[at + WRITABLE] = 0;
  }

  /** Adds a writable buffer; false when there is no room for it. */
  add(id: number, gpa: number, length: number): boolean {
    const { words } = this;
    const at = 4 * id;
    const page = Math.floor(gpa / 4096);
    const count = Math.floor((gpa + length - 1) / 4096) - page + 1;
    if (words[at + PAGES] === 0 && gpa + length <= FAR_GPA) {
      words[at + PAGE] = page;
      words[at + PAGES] = count;
    } else {
      if (this.#free === NONE && !this.#grow()) return false;
      const entry = this.#free;
      this.#free = this.#poolNext[entry]!;
      this.#poolPage[entry] = page;
      this.#poolPages[entry] = count;
      this.#poolNext[entry] = words[at + MORE]!;
      words[at + MORE] = entry;
    }
    const writable = (words[at + WRITABLE]! >>> 0) + length;
    words[at + WRITABLE] = writable > 0xffff_ffff ? -1 : writable;
    return true;
  }

  /** Device-writable bytes of a chain. */
  writable(id: number): number {
    return this.words[4 * id + WRITABLE]! >>> 0;
  }

  /** Calls back for each buffer but the one that is kept in place, and forgets these. */
  finishMore(id: number, mark: ((page: number, pages: number) => void) | undefined): void {
    for (let at = this.words[4 * id + MORE]!; at >= 0; ) {
      mark?.(this.#poolPage[at]!, this.#poolPages[at]!);
      const next = this.#poolNext[at]!;
      this.#release(at);
      at = next;
    }
    this.words[4 * id + MORE] = NONE;
  }

  /** Calls back for each buffer, if asked to, and marks the chain as no longer held. */
  finish(id: number, mark: ((page: number, pages: number) => void) | undefined): void {
    const { words } = this;
    if (words[4 * id + PAGES]! > 0) mark?.(words[4 * id + PAGE]!, words[4 * id + PAGES]!);
    this.finishMore(id, mark);
    words[4 * id + MORE] = FREE;
  }

  #release(at: number): void {
    this.#poolNext[at] = this.#free;
    this.#free = at;
  }

  #grow(): boolean {
    const old = this.#poolNext.length;
    if (old >= this.#poolLimit) return false;
    const size = Math.min(Math.max(2 * old, 256), this.#poolLimit);
    const [page, pages, next] = [this.#poolPage, this.#poolPages, this.#poolNext];
    this.#poolPage = new Float64Array(size);
    this.#poolPages = new Uint32Array(size);
    this.#poolNext = new Int32Array(size);
    this.#poolPage.set(page);
    this.#poolPages.set(pages);
    this.#poolNext.set(next);
    for (let i = size - 1; i >= old; i--) this.#release(i);
    return true;
  }
}
