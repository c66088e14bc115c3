import type { GuestBuffer, Region } from "../../support/front-end/guest-memory.ts";
import type { NetQueue } from "../../support/front-end/net-pair.ts";
import { fence } from "../../support/front-end/ordering.ts";

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const TABLE_BYTES = 32768;

/** A descriptor as anybody may write it; what is left out is a harmless buffer of 64 bytes. */
export interface RawDescriptor {
  readonly gpa?: bigint;
  readonly length?: number;
  readonly flags?: number;
  /** The next descriptor (split) or the buffer id (packed). */
  readonly last?: number;
}

/**
 * A running ring into which anything can be written from where its driver is. The driver must not use the ring any
 * more until it is reset.
 */
export class RawRing {
  /** Memory for an indirect table, and for a buffer. */
  readonly scratch: GuestBuffer;
  readonly buffer: GuestBuffer;

  constructor(
    readonly queue: NetQueue,
    readonly packed: boolean,
    region: Region,
  ) {
    this.scratch = region.allocate(TABLE_BYTES, 16);
    this.buffer = region.allocate(2048, 64);
  }

  /** Where the driver is, as a vring base. */
  get base(): number {
    return this.queue.ring.nextBase;
  }

  get size(): number {
    return this.queue.ring.size;
  }

  /** Offers these descriptors as they are: in a split ring from index 0 of its table on, with head 0. */
  chain(...descriptors: readonly RawDescriptor[]): void {
    if (this.packed) {
      for (let i = descriptors.length - 1; i >= 0; i--) this.packedEntry(i, descriptors[i]!);
    } else {
      for (const [i, descriptor] of descriptors.entries()) this.describe(i, descriptor);
      this.offer(0);
    }
    this.queue.signal();
  }

  /** Writes an entry of a split ring's table. */
  describe(index: number, descriptor: RawDescriptor): void {
    this.write(this.queue.ring.desc, index, descriptor, false);
  }

  /** Writes the descriptor `ahead` entries from the driver's position of a packed ring, and makes it available. */
  packedEntry(ahead: number, descriptor: RawDescriptor): void {
    const { desc } = this.queue.ring;
    const at = (this.base & 0x7fff) + ahead;
    const wrap = ((this.base & 0x8000) !== 0) === (Math.floor(at / this.size) % 2 === 0);
    const index = at % this.size;
    this.write(desc, index, { ...descriptor, flags: 0 }, true, desc.u16[8 * index + 7]!);
    fence();
    desc.u16[8 * index + 7] = (descriptor.flags ?? 0) | (wrap ? AVAIL : USED);
  }

  /** Makes heads available in a split ring. */
  offer(...heads: readonly number[]): void {
    const { avail } = this.queue.ring;
    for (const [i, head] of heads.entries()) avail.u16[2 + ((this.base + i) & (this.size - 1))] = head;
    fence();
    avail.u16[1] = this.base + heads.length;
  }

  /** Writes an indirect table; returns the descriptor that points to it. */
  table(...entries: readonly RawDescriptor[]): RawDescriptor {
    return this.tableAt(this.scratch, ...entries);
  }

  tableAt(memory: GuestBuffer, ...entries: readonly RawDescriptor[]): RawDescriptor {
    for (const [i, entry] of entries.entries()) this.write(memory, i, entry, this.packed);
    return { gpa: memory.gpa, length: 16 * entries.length, flags: INDIRECT };
  }

  /** struct virtq_desc, or struct pvirtq_desc (virtio 1.3 §2.7.5, §2.8.13). */
  write(
    into: GuestBuffer,
    index: number,
    { gpa = this.buffer.gpa, length = 64, flags = 0, last = 0 }: RawDescriptor,
    packed: boolean,
    packedFlags = flags,
  ): void {
    into.u32[4 * index] = Number(gpa & 0xffff_ffffn);
    into.u32[4 * index + 1] = Number(gpa >> 32n);
    into.u32[4 * index + 2] = length;
    into.u16[8 * index + 6] = packed ? last : flags;
    into.u16[8 * index + 7] = packed ? packedFlags : last;
  }
}
