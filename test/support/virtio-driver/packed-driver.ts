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
const AVAIL = 1 << 7;
const USED = 1 << 15;
const ENABLE = 0;
const DISABLE = 1;
const DESC = 2;

/** Packed virtqueue, driver side (virtio 1.3 §2.8). The ring takes `PackedDriver.bytes(size)` from `offset`. */
export class PackedDriver implements DriverRing {
  readonly desc: bigint;
  readonly driver: bigint;
  readonly device: bigint;
  free: number;
  readonly #memory: RingMemory;
  readonly #options: RingOptions;
  readonly #desc: number;
  readonly #driver: number;
  readonly #device: number;
  readonly #tables: number;
  readonly #freeIds: number[];
  readonly #chainLength: Uint16Array;
  /** Head flags that `publish` writes, last chain first: the device may go on as soon as it sees the first. */
  readonly #heads: { at: number; flags: number }[] = [];
  #availIndex = 0;
  #availWrap = 1;
  #usedIndex = 0;
  #usedWrap = 1;
  /** Descriptors added since the last `publish`. */
  #added = 0;

  static bytes(size: number): number {
    return size * 16 + 16 + size * TABLE_ENTRIES * 16;
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
    this.#driver = offset + size * 16;
    this.#device = this.#driver + 4;
    this.#tables = this.#driver + 16;
    memory.u8.fill(0, offset, offset + PackedDriver.bytes(size));
    this.desc = BigInt(memory.iova + this.#desc);
    this.driver = BigInt(memory.iova + this.#driver);
    this.device = BigInt(memory.iova + this.#device);
    this.free = size;
    this.#freeIds = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#chainLength = new Uint16Array(size);
  }

  add(pieces: readonly Piece[]): number {
    const ring = this.#options.indirect ? 1 : pieces.length;
    if (this.free < ring || pieces.length > Math.max(ring, TABLE_ENTRIES))
      throw new RangeError("ring is full");
    const id = this.#freeIds.pop()!;
    this.#chainLength[id] = ring;
    if (this.#options.indirect) {
      const table = this.#tables + id * TABLE_ENTRIES * 16;
      for (const [i, { offset, length, write }] of pieces.entries()) {
        const flags = write ? WRITE : 0;
        this.#memory.descriptor(table + i * 16, this.#memory.iova + offset, length, flags * 65536);
      }
      this.#put(this.#memory.iova + table, pieces.length * 16, id, INDIRECT, true);
    } else {
      for (const [i, { offset, length, write }] of pieces.entries()) {
        const flags = (i + 1 < pieces.length ? NEXT : 0) | (write ? WRITE : 0);
        this.#put(this.#memory.iova + offset, length, id, flags, i === 0);
      }
    }
    return id;
  }

  publish(): boolean {
    const { u16 } = this.#memory;
    const added = this.#added;
    this.#added = 0;
    fence();
    for (let head = this.#heads.pop(); head; head = this.#heads.pop()) {
      u16[(head.at + 14) >> 1] = head.flags;
      fence();
    }
    const flags = u16[(this.#device + 2) >> 1]!;
    if (flags !== DESC) return flags === ENABLE;
    const event = u16[this.#device >> 1]!;
    const behind = this.#availIndex - (event & 0x7fff) + (event >>> 15 === this.#availWrap ? 0 : this.size);
    return behind >= 1 && behind <= added;
  }

  next(): Used | undefined {
    const { u16, u32 } = this.#memory;
    if (!this.#isUsed()) return undefined;
    fence();
    const at = this.#desc + this.#usedIndex * 16;
    const length = u32[(at >> 2) + 2]!;
    const id = u16[(at >> 1) + 6]!;
    const slots = this.#chainLength[id] ?? 0;
    if (slots > 0) {
      this.#chainLength[id] = 0;
      this.#freeIds.push(id);
      this.free += slots;
      this.#usedIndex += slots;
    } else {
      this.#usedIndex++;
    }
    if (this.#usedIndex >= this.size) {
      this.#usedIndex -= this.size;
      this.#usedWrap ^= 1;
    }
    return { id, length };
  }

  armInterrupt(): boolean {
    const { u16 } = this.#memory;
    if (this.#options.eventIdx) u16[this.#driver >> 1] = this.#usedIndex | (this.#usedWrap << 15);
    u16[(this.#driver + 2) >> 1] = this.#options.eventIdx ? DESC : ENABLE;
    fence();
    return this.#isUsed();
  }

  disarmInterrupt(): void {
    this.#memory.u16[(this.#driver + 2) >> 1] = DISABLE;
  }

  #isUsed(): boolean {
    const flags = this.#memory.u16[((this.#desc + this.#usedIndex * 16) >> 1) + 7]!;
    return (flags & AVAIL ? 1 : 0) === this.#usedWrap && (flags & USED ? 1 : 0) === this.#usedWrap;
  }

  #put(iova: number, length: number, id: number, extra: number, head: boolean): void {
    const at = this.#desc + this.#availIndex * 16;
    const flags = extra | (this.#availWrap ? AVAIL : USED);
    // A head keeps its old, not available flags until `publish`.
    const shown = head ? this.#memory.u16[(at + 14) >> 1]! : flags;
    this.#memory.descriptor(at, iova, length, shown * 65536 + id);
    if (head) this.#heads.push({ at, flags });
    this.free--;
    this.#added++;
    if (++this.#availIndex === this.size) {
      this.#availIndex = 0;
      this.#availWrap ^= 1;
    }
  }
}
