import {
  type DriverRing,
  fence,
  type Piece,
  type RingMemory,
  type RingOptions,
  TABLE_ENTRIES,
  type Used,
} from "./driver-ring.ts";

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** Split virtqueue, driver side (virtio 1.3 §2.7). The ring takes `SplitDriver.bytes(size)` from `offset`. */
export class SplitDriver implements DriverRing {
  readonly desc: bigint;
  readonly driver: bigint;
  readonly device: bigint;
  free: number;
  readonly #memory: RingMemory;
  readonly #options: RingOptions;
  /** Byte offsets in the memory. */
  readonly #desc: number;
  readonly #avail: number;
  readonly #used: number;
  readonly #tables: number;
  readonly #freeList: number[];
  readonly #chainLength: Uint16Array;
  #availIndex = 0;
  #published = 0;
  #usedIndex = 0;

  static bytes(size: number): number {
    return size * 16 + align(6 + 2 * size, 8) + align(6 + 8 * size, 16) + size * TABLE_ENTRIES * 16;
  }

  constructor(
    memory: RingMemory,
    offset: number,
    readonly size: number,
    options: RingOptions = {},
  ) {
    this.#memory = memory;
    this.#options = options;
    this.#desc = offset;
    this.#avail = offset + size * 16;
    this.#used = this.#avail + align(6 + 2 * size, 8);
    this.#tables = align(this.#used + 6 + 8 * size, 16);
    memory.u8.fill(0, offset, offset + SplitDriver.bytes(size));
    this.desc = BigInt(memory.iova + this.#desc);
    this.driver = BigInt(memory.iova + this.#avail);
    this.device = BigInt(memory.iova + this.#used);
    this.free = size;
    this.#freeList = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#chainLength = new Uint16Array(size);
  }

  add(pieces: readonly Piece[]): number {
    const ring = this.#options.indirect ? 1 : pieces.length;
    if (this.free < ring || pieces.length > Math.max(ring, TABLE_ENTRIES))
      throw new RangeError("ring is full");
    const head = this.#freeList[this.#freeList.length - 1]!;
    if (this.#options.indirect) this.#addIndirect(pieces);
    else this.#addDirect(pieces);
    this.free -= ring;
    this.#chainLength[head] = ring;
    this.#memory.u16[((this.#avail + 4) >> 1) + (this.#availIndex & (this.size - 1))] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    return head;
  }

  publish(): boolean {
    const { u16 } = this.#memory;
    const old = this.#published;
    const now = this.#availIndex;
    this.#published = now;
    fence();
    u16[(this.#avail + 2) >> 1] = now;
    fence();
    if (!this.#options.eventIdx) return (u16[this.#used >> 1]! & 1) === 0;
    const event = u16[(this.#used + 4 + 8 * this.size) >> 1]!;
    return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
  }

  next(): Used | undefined {
    const { u16, u32 } = this.#memory;
    const index = u16[(this.#used + 2) >> 1]!;
    fence();
    if (index === this.#usedIndex) return undefined;
    const at = ((this.#used + 4) >> 2) + 2 * (this.#usedIndex & (this.size - 1));
    const id = u32[at]!;
    const length = u32[at + 1]!;
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    let descriptor = id;
    for (let i = this.#chainLength[id] ?? 0; i > 0; i--) {
      this.#freeList.push(descriptor);
      this.free++;
      descriptor = u16[((this.#desc + descriptor * 16) >> 1) + 7]!;
    }
    if (id < this.size) this.#chainLength[id] = 0;
    return { id, length };
  }

  armInterrupt(): boolean {
    const { u16 } = this.#memory;
    if (this.#options.eventIdx) u16[(this.#avail + 4 + 2 * this.size) >> 1] = this.#usedIndex;
    else u16[this.#avail >> 1] = 0;
    fence();
    return u16[(this.#used + 2) >> 1] !== this.#usedIndex;
  }

  disarmInterrupt(): void {
    const { u16 } = this.#memory;
    // With event idx: an index that was passed just now.
    if (this.#options.eventIdx) u16[(this.#avail + 4 + 2 * this.size) >> 1] = (this.#usedIndex - 1) & 0xffff;
    else u16[this.#avail >> 1] = 1;
  }

  #addDirect(pieces: readonly Piece[]): void {
    for (const [i, { offset, length, write }] of pieces.entries()) {
      const descriptor = this.#freeList.pop()!;
      const more = i + 1 < pieces.length;
      const next = more ? this.#freeList[this.#freeList.length - 1]! : 0;
      const flags = (more ? NEXT : 0) | (write ? WRITE : 0);
      this.#memory.descriptor(
        this.#desc + descriptor * 16,
        this.#memory.iova + offset,
        length,
        next * 65536 + flags,
      );
    }
  }

  #addIndirect(pieces: readonly Piece[]): void {
    const descriptor = this.#freeList.pop()!;
    const table = this.#tables + descriptor * TABLE_ENTRIES * 16;
    for (const [i, { offset, length, write }] of pieces.entries()) {
      const more = i + 1 < pieces.length;
      const last = (more ? (i + 1) * 65536 + NEXT : 0) + (write ? WRITE : 0);
      this.#memory.descriptor(table + i * 16, this.#memory.iova + offset, length, last);
    }
    this.#memory.descriptor(
      this.#desc + descriptor * 16,
      this.#memory.iova + table,
      pieces.length * 16,
      INDIRECT,
    );
  }
}

function align(n: number, to: number): number {
  return Math.ceil(n / to) * to;
}
