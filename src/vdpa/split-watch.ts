import type { GuestMemory } from "../memory/guest-memory.ts";
import { recoverSplit } from "../relay/split-recovery.ts";
import { guestRing, type RingTraits } from "./direct-position.ts";
import type { RingWatch } from "./ring-watch.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Looks at the two indices before they count as moving too fast. */
const TRIES = 16;

interface Indices {
  readonly avail: number;
  readonly used: number;
}

/**
 * Watches a split ring that the device works on. Completions out of order leave no record of what the device holds,
 * but what it held at one moment, what was made available since and what was used since tell it exactly.
 */
export class SplitWatch implements RingWatch {
  /** Heads that the device holds, in the order in which they were made available; undefined while that is not known. */
  #held: Set<number> | undefined;
  #at: Indices = { avail: 0, used: 0 };
  /** Whether the last look told so. */
  #certain = false;
  readonly broken = false;

  constructor(
    readonly memory: GuestMemory,
    readonly vring: VringConfig,
    readonly traits: RingTraits,
  ) {}

  look(): boolean {
    const now = this.#indices();
    this.#certain = now !== undefined && (this.#goOn(now) || this.#begin());
    return this.#certain;
  }

  leave(): number | undefined {
    if (!this.#held || !this.#certain) return undefined;
    const { used } = this.#at;
    let index = used;
    for (const head of this.#held) this.#setHead(index++, head);
    return used;
  }

  /** Both indices as they were at one moment; undefined where entries are made available faster than they can be read. */
  #indices(): Indices | undefined {
    for (let i = 0; i < TRIES; i++) {
      const avail = this.#index(this.vring.driverGpa);
      const used = this.#index(this.vring.deviceGpa);
      if (this.#index(this.vring.driverGpa) === avail) return { avail, used };
    }
    return undefined;
  }

  #index(ringGpa: bigint): number {
    return this.memory.readU16(ringGpa + 2n);
  }

  /** Goes on from the last look. With IN_ORDER one used element stands for a batch, and the indices tell all. */
  #goOn(now: Indices): boolean {
    return this.#held !== undefined && !this.traits.inOrder && this.#follow(this.#held, now);
  }

  /** Begins at what one look shows. */
  #begin(): boolean {
    this.#held = undefined;
    const found = recoverSplit(this.memory, guestRing(this.vring, this.traits));
    if (found.kind !== "recovered" || !found.verified) return false;
    const used = found.position.usedPosition;
    this.#held = new Set(found.heads);
    this.#at = { used, avail: (used + found.inFlight) & 0xffff };
    return true;
  }

  /** Takes what was made available and used since the last look; whether that leaves no doubt. */
  #follow(held: Set<number>, now: Indices): boolean {
    const { size, driverGpa, deviceGpa } = this.vring;
    const { memory } = this;
    const mask = size - 1;
    const avail = new DataView(memory.read(driverGpa, 4 + 2 * size).buffer);
    const used = new DataView(memory.read(deviceGpa, 4 + 8 * size).buffer);
    // The slots must not have been written again while they were read. Either side writes some before it publishes
    // them, but not half a ring.
    const from = this.#at;
    const moved = (to: number, since: number) => (to - since) & 0xffff;
    if (2 * moved(this.#index(driverGpa), from.avail) > size) return false;
    if (2 * moved(this.#index(deviceGpa), from.used) > size) return false;
    const count = new Map([...held].map((head) => [head, 1]));
    for (let i = 0; i < moved(now.avail, from.avail); i++) {
      const head = avail.getUint16(4 + 2 * ((from.avail + i) & mask), true);
      const before = count.get(head) ?? 0;
      // What is made available again goes to the end.
      count.delete(head);
      count.set(head, before + 1);
    }
    for (let i = 0; i < moved(now.used, from.used); i++) {
      const head = used.getUint32(4 + 8 * ((from.used + i) & mask), true);
      count.set(head, (count.get(head) ?? 0) - 1);
    }
    const heads = [...count];
    if (!heads.every(([head, times]) => head < size && (times === 0 || times === 1))) return false;
    this.#held = new Set(heads.filter(([, times]) => times === 1).map(([head]) => head));
    this.#at = now;
    return true;
  }

  #setHead(index: number, head: number): void {
    const at = this.vring.driverGpa + BigInt(4 + 2 * (index & (this.vring.size - 1)));
    // In order, which is nearly always, it is there already.
    if (this.memory.readU16(at) !== head) this.memory.writeU16(at, head);
  }
}
