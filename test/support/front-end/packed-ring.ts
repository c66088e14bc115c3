import {
  type Chain,
  type DriverRing,
  descriptorsOf,
  F_INDIRECT,
  F_NEXT,
  F_WRITE,
  halves,
  passed,
  type Segment,
  type Used,
} from "./driver-ring.ts";
import type { GuestBuffer, Region } from "./guest-memory.ts";
import { acquire, fence } from "./ordering.ts";

const F_AVAIL = 1 << 7;
const F_USED = 1 << 15;
/** Event suppression flags (virtio 1.3 §2.8.10). */
const EVENT_ENABLE = 0;
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;

/** Packed virtqueue, driver side (virtio 1.3 §2.8). `avail` is the driver's event area, `used` the device's. */
export class PackedRing<T> implements DriverRing<T> {
  /** Both positions 0, both wrap counters 1. */
  readonly freshBase = 0x8000_8000;
  readonly desc: GuestBuffer;
  readonly avail: GuestBuffer;
  readonly used: GuestBuffer;
  readonly #ids: number[] = [];
  readonly #chains: ({ readonly token: T; readonly count: number } | undefined)[];
  #next = 0;
  #wrap = true;
  #free = 0;
  #usedAt = 0;
  #usedWrap = true;
  #outstanding = 0;
  /** Descriptors added since the last publish, and the first one's place and flags, which are written last. */
  #added = 0;
  #heldAt = 0;
  #heldFlags = 0;

  constructor(
    region: Region,
    readonly size: number,
    readonly eventIdx: boolean,
  ) {
    this.desc = region.allocate(16 * size, 16);
    this.avail = region.allocate(4, 4);
    this.used = region.allocate(4, 4);
    this.#chains = new Array(size);
    this.reset();
  }

  get outstanding() {
    return this.#outstanding;
  }

  get nextBase() {
    const half = this.#next | (this.#wrap ? 0x8000 : 0);
    return (half | (half << 16)) >>> 0;
  }

  reset(): void {
    for (const area of [this.desc, this.avail, this.used]) area.u8.fill(0);
    this.#ids.length = 0;
    for (let i = this.size - 1; i >= 0; i--) this.#ids.push(i);
    this.#chains.fill(undefined);
    this.#next = this.#usedAt = this.#added = this.#outstanding = 0;
    this.#wrap = this.#usedWrap = true;
    this.#free = this.size;
  }

  fits(chain: Chain): boolean {
    return descriptorsOf(chain) <= this.#free;
  }

  add(chain: Chain, token: T): void {
    if (!this.fits(chain)) throw new RangeError("packed ring full");
    const id = this.#ids.pop()!;
    const count = descriptorsOf(chain);
    this.#chains[id] = { token, count };
    if (chain.table) this.#addIndirect(chain, chain.table, id);
    else {
      for (let i = 0; i < count; i++) {
        const flags = (chain.write ? F_WRITE : 0) | (i === count - 1 ? 0 : F_NEXT);
        this.#put(chain.segments[i]!, id, flags);
      }
    }
    this.#free -= count;
    this.#outstanding++;
  }

  publish(): boolean {
    if (this.#added === 0) return false;
    fence();
    this.desc.u16[8 * this.#heldAt + 7] = this.#heldFlags;
    fence();
    const added = this.#added;
    this.#added = 0;
    const event = this.used.u32[0]!;
    const flags = (event >>> 16) & 3;
    if (flags !== EVENT_DESC) return flags !== EVENT_DISABLE;
    // Off and wrap of the device's event: the descriptor that it wants to be told of.
    const wrap = (event & 0x8000) !== 0;
    const off = (event & 0x7fff) - (wrap === this.#wrap ? 0 : this.size);
    return passed(off, this.#next, this.#next - added);
  }

  take(): Used<T> | undefined {
    if (!this.#usedThere()) return undefined;
    const at = 4 * this.#usedAt;
    const length = this.desc.u32[at + 2]!;
    const id = this.desc.u32[at + 3]! & 0xffff;
    const chain = this.#chains[id];
    if (!chain) throw new Error(`used id ${id} is not outstanding`);
    this.#chains[id] = undefined;
    this.#ids.push(id);
    this.#free += chain.count;
    this.#usedAt += chain.count;
    if (this.#usedAt >= this.size) {
      this.#usedAt -= this.size;
      this.#usedWrap = !this.#usedWrap;
    }
    this.#outstanding--;
    return { token: chain.token, length };
  }

  arm(): boolean {
    this.avail.u32[0] = this.eventIdx
      ? this.#usedAt | (this.#usedWrap ? 0x8000 : 0) | (EVENT_DESC << 16)
      : EVENT_ENABLE << 16;
    fence();
    return this.#usedThere();
  }

  #usedThere(): boolean {
    const flags = this.desc.u16[8 * this.#usedAt + 7]!;
    acquire();
    const avail = (flags & F_AVAIL) !== 0;
    const used = (flags & F_USED) !== 0;
    return avail === used && used === this.#usedWrap;
  }

  #addIndirect(chain: Chain, table: GuestBuffer, id: number): void {
    for (let i = 0; i < chain.count; i++) {
      writeDescriptor(table, i, chain.segments[i]!, 0);
      // In an indirect table only WRITE has a meaning (virtio 1.3 §2.8.7).
      table.u16[8 * i + 7] = chain.write ? F_WRITE : 0;
    }
    this.#put({ ...halves(table.gpa), length: 16 * chain.count }, id, F_INDIRECT);
  }

  /** Writes the next descriptor; the flags of the first one of a batch wait for `publish`. */
  #put(segment: Segment, id: number, flags: number): void {
    const marked = flags | (this.#wrap ? F_AVAIL : F_USED);
    writeDescriptor(this.desc, this.#next, segment, id);
    if (this.#added === 0) {
      this.#heldAt = this.#next;
      this.#heldFlags = marked;
    } else {
      this.desc.u16[8 * this.#next + 7] = marked;
    }
    this.#added++;
    if (++this.#next === this.size) {
      this.#next = 0;
      this.#wrap = !this.#wrap;
    }
  }
}

/** struct pvirtq_desc without its flags: le64 addr, le32 len, le16 id. */
function writeDescriptor(into: GuestBuffer, index: number, segment: Segment, id: number): void {
  into.u32[4 * index] = segment.low;
  into.u32[4 * index + 1] = segment.high;
  into.u32[4 * index + 2] = segment.length;
  into.u16[8 * index + 6] = id;
}
