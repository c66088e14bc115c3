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

const USED_F_NO_NOTIFY = 1;

interface Outstanding<T> {
  readonly token: T;
  readonly head: number;
  readonly count: number;
}

/** Split virtqueue, driver side (virtio 1.3 §2.7). */
export class SplitRing<T> implements DriverRing<T> {
  readonly freshBase = 0;
  readonly desc: GuestBuffer;
  readonly avail: GuestBuffer;
  readonly used: GuestBuffer;
  /** Free descriptors; the ring's own bookkeeping, as `next` in guest memory could be read by the device. */
  readonly #free: number[] = [];
  readonly #chains: (Outstanding<T> | undefined)[];
  readonly #members: number[][];
  #availIdx = 0;
  #published = 0;
  #usedIdx = 0;
  #outstanding = 0;

  constructor(
    region: Region,
    readonly size: number,
    readonly eventIdx: boolean,
    /** In one piece as the legacy registers want it: both halves begin on a page (virtio 1.3 §2.7.2). */
    legacy = false,
  ) {
    this.desc = region.allocate(16 * size, legacy ? 4096 : 16);
    this.avail = region.allocate(6 + 2 * size, 2);
    this.used = region.allocate(6 + 8 * size + 2, legacy ? 4096 : 4);
    this.#chains = new Array(size);
    this.#members = Array.from({ length: size }, () => []);
    this.reset();
  }

  get outstanding() {
    return this.#outstanding;
  }

  get nextBase() {
    return this.#availIdx;
  }

  reset(): void {
    for (const area of [this.desc, this.avail, this.used]) area.u8.fill(0);
    this.#free.length = 0;
    for (let i = this.size - 1; i >= 0; i--) this.#free.push(i);
    this.#chains.fill(undefined);
    this.#availIdx = this.#published = this.#usedIdx = this.#outstanding = 0;
  }

  fits(chain: Chain): boolean {
    return descriptorsOf(chain) <= this.#free.length;
  }

  add(chain: Chain, token: T): void {
    if (!this.fits(chain)) throw new RangeError("split ring full");
    const head = chain.table ? this.#addIndirect(chain, chain.table) : this.#addDirect(chain);
    this.#chains[head] = { token, head, count: descriptorsOf(chain) };
    this.avail.u16[2 + (this.#availIdx & (this.size - 1))] = head;
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    this.#outstanding++;
  }

  publish(): boolean {
    const old = this.#published;
    if (old === this.#availIdx) return false;
    fence();
    this.avail.u16[1] = this.#availIdx;
    this.#published = this.#availIdx;
    fence();
    if (!this.eventIdx) return (this.used.u16[0]! & USED_F_NO_NOTIFY) === 0;
    return passed(this.used.u16[2 + 4 * this.size]!, this.#availIdx, old);
  }

  take(): Used<T> | undefined {
    const usedIdx = this.used.u16[1]!;
    acquire();
    const ahead = (usedIdx - this.#usedIdx) & 0xffff;
    if (ahead === 0) return undefined;
    if (ahead > this.#outstanding)
      throw new Error(`used idx is ${ahead} ahead with ${this.#outstanding} outstanding`);
    const at = 1 + 2 * (this.#usedIdx & (this.size - 1));
    const id = this.used.u32[at]!;
    const length = this.used.u32[at + 1]!;
    const chain = this.#chains[id];
    if (!chain) throw new Error(`used id ${id} is not outstanding`);
    this.#chains[id] = undefined;
    for (const member of this.#members[id]!) this.#free.push(member);
    this.#usedIdx = (this.#usedIdx + 1) & 0xffff;
    this.#outstanding--;
    return { token: chain.token, length };
  }

  arm(): boolean {
    if (this.eventIdx) this.avail.u16[2 + this.size] = this.#usedIdx;
    fence();
    return this.used.u16[1] !== this.#usedIdx;
  }

  #addDirect(chain: Chain): number {
    const members: number[] = [];
    for (let i = 0; i < chain.count; i++) members.push(this.#free.pop()!);
    for (const [i, member] of members.entries()) {
      const next = members[i + 1];
      const flags = (chain.write ? F_WRITE : 0) | (next === undefined ? 0 : F_NEXT);
      writeDescriptor(this.desc, member, chain.segments[i]!, flags, next ?? 0);
    }
    this.#members[members[0]!] = members;
    return members[0]!;
  }

  #addIndirect(chain: Chain, table: GuestBuffer): number {
    for (let i = 0; i < chain.count; i++) {
      const last = i === chain.count - 1;
      const flags = (chain.write ? F_WRITE : 0) | (last ? 0 : F_NEXT);
      writeDescriptor(table, i, chain.segments[i]!, flags, last ? 0 : i + 1);
    }
    const head = this.#free.pop()!;
    this.#members[head] = [head];
    writeDescriptor(this.desc, head, { ...halves(table.gpa), length: 16 * chain.count }, F_INDIRECT, 0);
    return head;
  }
}

/** struct virtq_desc: le64 addr, le32 len, le16 flags, le16 next. */
function writeDescriptor(
  into: GuestBuffer,
  index: number,
  segment: Segment,
  flags: number,
  next: number,
): void {
  into.u32[4 * index] = segment.low;
  into.u32[4 * index + 1] = segment.high;
  into.u32[4 * index + 2] = segment.length;
  into.u32[4 * index + 3] = flags | (next << 16);
}
