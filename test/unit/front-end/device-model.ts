import type { DriverRing } from "../../support/front-end/driver-ring.ts";
import type { GuestBuffer, Region } from "../../support/front-end/guest-memory.ts";

/** A buffer as the device sees it. */
export interface Seen {
  readonly id: number;
  readonly segments: readonly { readonly gpa: bigint; readonly length: number; readonly write: boolean }[];
  /** Descriptors taken in the ring. */
  readonly slots: number;
}

/** The device's side of a ring, in the plainest way: for tests of the driver's side. */
export interface DeviceModel {
  /** The next buffer made available. */
  next(): Seen | undefined;
  /** Gives a buffer back. */
  use(seen: Seen, length: number): void;
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

function at(region: Region, gpa: bigint, size: number): GuestBuffer {
  return region.at(Number(gpa - region.description.gpa), size);
}

const entry = (area: GuestBuffer, i: number) => {
  const u32 = area.u32.subarray(4 * i);
  const gpa = BigInt(u32[0]!) | (BigInt(u32[1]!) << 32n);
  return { gpa, length: u32[2]!, low: u32[3]! & 0xffff, high: u32[3]! >>> 16 };
};

export class SplitDevice implements DeviceModel {
  #avail = 0;
  #used = 0;

  constructor(
    readonly ring: DriverRing<unknown>,
    readonly region: Region,
  ) {}

  next(): Seen | undefined {
    const { desc, avail, size } = this.ring;
    if (avail.u16[1] === this.#avail) return undefined;
    const id = avail.u16[2 + (this.#avail % size)]!;
    this.#avail = (this.#avail + 1) & 0xffff;
    const head = entry(desc, id);
    const table = head.low & INDIRECT ? at(this.region, head.gpa, head.length) : desc;
    const segments: Seen["segments"][number][] = [];
    for (let i = table === desc ? id : 0; ; ) {
      const { gpa, length, low: flags, high: next } = entry(table, i);
      segments.push({ gpa, length, write: (flags & WRITE) !== 0 });
      if ((flags & NEXT) === 0) break;
      i = next;
    }
    return { id, segments, slots: table === desc ? segments.length : 1 };
  }

  use({ id }: Seen, length: number): void {
    const { used, size } = this.ring;
    used.u32.set([id, length], 1 + 2 * (this.#used % size));
    this.#used = (this.#used + 1) & 0xffff;
    used.u16[1] = this.#used;
  }
}

export class PackedDevice implements DeviceModel {
  #avail = 0;
  #availWrap = true;
  #used = 0;
  #usedWrap = true;

  constructor(
    readonly ring: DriverRing<unknown>,
    readonly region: Region,
  ) {}

  next(): Seen | undefined {
    const { desc, size } = this.ring;
    const flags = desc.u16[8 * this.#avail + 7]!;
    if (((flags >> 7) & 1) !== +this.#availWrap || ((flags >> 15) & 1) === +this.#availWrap) return undefined;
    const segments: Seen["segments"][number][] = [];
    let slots = 0;
    for (;;) {
      const { gpa, length, low: id, high } = entry(desc, this.#avail);
      slots++;
      if (++this.#avail === size) {
        this.#avail = 0;
        this.#availWrap = !this.#availWrap;
      }
      if (high & INDIRECT) {
        const table = at(this.region, gpa, length);
        for (let i = 0; i < length / 16; i++) {
          const inner = entry(table, i);
          segments.push({ gpa: inner.gpa, length: inner.length, write: (inner.high & WRITE) !== 0 });
        }
      } else segments.push({ gpa, length, write: (high & WRITE) !== 0 });
      if ((high & NEXT) === 0) return { id, segments, slots };
    }
  }

  use({ id, slots }: Seen, length: number): void {
    const { desc, size } = this.ring;
    desc.u32[4 * this.#used + 2] = length;
    desc.u16[8 * this.#used + 6] = id;
    desc.u16[8 * this.#used + 7] = this.#usedWrap ? 0x8080 : 0;
    this.#used += slots;
    if (this.#used >= size) {
      this.#used -= size;
      this.#usedWrap = !this.#usedWrap;
    }
  }
}
