import type { DirtyLog } from "../memory/dirty-log.ts";

/** Most further buffers of all chains of a ring that are remembered at a time. */
const MAX_POOL = 2 ** 18;
const NONE = -1;

/**
 * What `ChainRecord.plain` says of a chain. From 0 on it is the page of the only writable buffer, which ends in that
 * page or, with `TWO_PAGES`, in the next one: bits 0 to 29, so below 4 TiB.
 */
export const TWO_PAGES = 2 ** 30;
export const PAGE_MASK = TWO_PAGES - 1;
/** Held without a writable buffer. */
export const READ_ONLY = -1;
/** Held with anything else: the record has lists for it. */
export const LISTED = -2;
/** Not held. */
export const FREE = -3;

/**
 * What to note in `plain` of a chain that is one buffer, whose words are given as signed numbers: `LISTED`, for a look
 * of the slow kind, where it is not plain or not certain to lie in the pages from `firstPage` to before `endPage`.
 */
export function plainOf(
  low: number,
  high: number,
  length: number,
  write: number,
  firstPage: number,
  endPage: number,
): number {
  const page = (high << 20) | (low >>> 12);
  const last = page + (((low & 0xfff) + (length - 1)) >>> 12);
  // 4 TiB have 10 bits above the first 32. A negative length has 2 GiB or more.
  if (high >>> 10 !== 0 || length <= 0 || page < firstPage || last >= endPage) return LISTED;
  if (write === 0) return READ_ONLY;
  return last === page ? page : last === page + 1 ? page | TWO_PAGES : LISTED;
}

/**
 * The device-writable buffers of the chains that the device holds, as they were when it got them: what is logged on
 * completion does not depend on what the guest's descriptors say by then. What a loop can log at a glance is in
 * `plain`; the buffers of other chains come from a pool that grows up to a limit, beyond which chains have to wait.
 */
export class ChainRecord {
  /** Per chain, see above. */
  readonly plain: Int32Array;
  /** Per chain that is held: device-writable bytes as a u32, at most 2^32 - 1, as a used length can say no more. */
  readonly writable: Int32Array;
  /** Per listed chain: its first buffer in the pool, or `NONE`. */
  readonly #first: Int32Array;
  #poolPage = new Float64Array(0);
  #poolPages = new Uint32Array(0);
  #poolNext = new Int32Array(0);
  #free = NONE;
  readonly #poolLimit: number;

  constructor(readonly size: number) {
    this.plain = new Int32Array(size);
    this.writable = new Int32Array(size);
    this.#first = new Int32Array(size);
    this.#poolLimit = Math.max(2 * size, MAX_POOL);
    this.clear();
  }

  clear(): void {
    this.plain.fill(FREE);
    this.#free = NONE;
    for (let i = this.#poolNext.length - 1; i >= 0; i--) this.#release(i);
  }

  isHeld(id: number): boolean {
    return this.plain[id] !== FREE;
  }

  /** Begins the look at a chain, whose buffers `add` takes. */
  begin(id: number): void {
    this.plain[id] = LISTED;
    this.writable[id] = 0;
    this.#first[id] = NONE;
  }

  /** Adds a writable buffer; false when there is no room for it. */
  add(id: number, gpa: number, length: number): boolean {
    if (this.#free === NONE && !this.#grow()) return false;
    const entry = this.#free;
    this.#free = this.#poolNext[entry]!;
    const page = Math.floor(gpa / 4096);
    this.#poolPage[entry] = page;
    this.#poolPages[entry] = Math.floor((gpa + length - 1) / 4096) - page + 1;
    this.#poolNext[entry] = this.#first[id]!;
    this.#first[id] = entry;
    const writable = (this.writable[id]! >>> 0) + length;
    this.writable[id] = writable > 0xffff_ffff ? -1 : writable;
    return true;
  }

  /** Ends the look at a chain: it is plain if what is to be logged is. */
  settle(id: number): void {
    const entry = this.#first[id]!;
    if (entry === NONE) {
      this.plain[id] = READ_ONLY;
      return;
    }
    const page = this.#poolPage[entry]!;
    const pages = this.#poolPages[entry]!;
    if (this.#poolNext[entry] !== NONE || pages > 2 || page >= TWO_PAGES - 1) return;
    this.#release(entry);
    this.plain[id] = pages === 2 ? page | TWO_PAGES : page;
  }

  /** Device-writable bytes of a chain. */
  writableBytes(id: number): number {
    return this.writable[id]! >>> 0;
  }

  /** Marks the chain as no longer held, and its buffers as written where there is a log. */
  finish(id: number, log: DirtyLog | undefined): void {
    const plain = this.plain[id]!;
    if (plain >= 0) {
      log?.markPages(plain & PAGE_MASK, plain < TWO_PAGES ? 1 : 2);
    } else if (plain === LISTED) {
      for (let at = this.#first[id]!; at !== NONE; ) {
        log?.markPages(this.#poolPage[at]!, this.#poolPages[at]!);
        const next = this.#poolNext[at]!;
        this.#release(at);
        at = next;
      }
    }
    this.plain[id] = FREE;
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
