import { FREE, PAGE_MASK, READ_ONLY } from "./chain-record.ts";
import { acquireFence, fullFence } from "./fences.ts";
import type { RelayLogging, RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { faultOf, RingFault } from "./ring-fault.ts";
import { AVAIL_NO_INTERRUPT, splitEventDue } from "./ring-format.ts";
import { SplitFeed } from "./split-feed.ts";
import { SplitGuestRing } from "./split-guest-ring.ts";

const NO_WORDS = new Int32Array(0);
/** Above all that `ChainRecord.plain` can say. */
const NOT_LOGGED = 2 ** 31 - 1;

/**
 * A split ring whose descriptor table is the guest's own, while the available and the used ring that the device sees
 * are ours and begin at index 0. Completions reach the guest in the device's order.
 */
export class SplitRelay extends SplitFeed implements RingRelay {
  /** The used index when a call was last considered. */
  #calledAt = 0;
  /** What the available ring of ours asks the device for: the flags, or the event index. */
  #callWish = 0;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a split ring */
  constructor(options: RelayOptions) {
    super(options);
  }

  start({ usedPosition }: RingPosition): void {
    this.reset();
    this.avail.u16.fill(0);
    this.#callWish = 0;
    this.used.u32.fill(0);
    this.availIndex = usedPosition;
    this.usedIndex = usedPosition;
    this.#calledAt = usedPosition;
    this.deviceAvail = 0;
    this.deviceUsed = 0;
    this.kickedAt = 0;
    this.kickWish = -1;
    this.limitFeed(this.limited);
    this.guarded(() => this.guest.syncUsedIndex(usedPosition));
  }

  complete(): number {
    if (this.fault) return 0;
    const seen = this.used.u16[1]!;
    acquireFence();
    const count = (seen - this.deviceUsed) & 0xffff;
    if (count === 0) return 0;
    const before = this.usedIndex;
    try {
      if (count > this.outstanding) {
        throw new RingFault(
          "device",
          `the used index went from ${this.deviceUsed} to ${seen} with ${this.outstanding} chains in use`,
        );
      }
      if (this.ring.inOrder) this.#takeUsedInOrder(count);
      else this.#takeUsed(count);
    } catch (error) {
      this.fail(error);
    }
    const moved = (this.usedIndex - before) & 0xffff;
    if (moved === 0) return 0;
    this.outstanding -= moved;
    this.counts.completed += moved;
    try {
      this.guest.publish(before, this.usedIndex);
    } catch (error) {
      this.fail(error);
    }
    return moved;
  }

  /** Takes `count` used elements: logs what the device may have written and writes the guest's elements. */
  #takeUsed(count: number): void {
    for (let left = count; left > 0; ) {
      const taken = this.#takePlain(left);
      if (taken === 0) this.#takeOne();
      left -= taken || 1;
    }
  }

  /**
   * Takes used elements of plain chains, up to `count` and to where one of the rings begins anew, until there is one
   * about which anything is special. No call and nothing to catch, so that the JIT keeps all in registers. An index
   * beyond an array reads `undefined`, which costs no check of its own.
   * @returns how many
   */
  #takePlain(count: number): number {
    const { mask, deviceUsed, usedIndex } = this;
    const device = this.used.i32;
    const guest = this.guest.used.i32;
    const { plain, writable } = this.record;
    const log = this.dataLog;
    const logWords = log?.words ?? NO_WORDS;
    const loggedFrom = log ? 0 : NOT_LOGGED;
    const fromSlot = deviceUsed & mask;
    const toSlot = usedIndex & mask;
    const first = 1 + 2 * fromSlot;
    const end = first + 2 * Math.min(count, mask + 1 - Math.max(fromSlot, toSlot));
    let from = first;
    let to = 1 + 2 * toSlot;
    let marked = 0;
    // `| 0` spares the overflow check.
    for (; from < end; from = (from + 2) | 0) {
      const id = device[from]!;
      const length = device[from + 1]!;
      const noted = plain[id];
      if (noted === undefined || noted < READ_ONLY || length >>> 0 > writable[id]! >>> 0) break;
      if (noted >= loggedFrom) {
        const page = noted & PAGE_MASK;
        const seen = logWords[page >>> 5];
        if (seen === undefined) break;
        const bit = 1 << (page & 31);
        if ((seen & bit) === 0 && (Atomics.or(logWords, page >>> 5, bit) & bit) === 0)
          marked = (marked + 1) | 0;
        if (page !== noted) {
          const next = page + 1;
          const nextSeen = logWords[next >>> 5];
          if (nextSeen === undefined) break;
          const nextBit = 1 << (next & 31);
          if ((nextSeen & nextBit) === 0 && (Atomics.or(logWords, next >>> 5, nextBit) & nextBit) === 0) {
            marked = (marked + 1) | 0;
          }
        }
      }
      plain[id] = FREE;
      guest[to] = id;
      guest[to + 1] = length;
      to = (to + 2) | 0;
    }
    if (log) log.marked += marked;
    const taken = (from - first) >> 1;
    this.deviceUsed = (deviceUsed + taken) & 0xffff;
    this.usedIndex = (usedIndex + taken) & 0xffff;
    return taken;
  }

  /** Takes the next used element, whatever it is. Throws RingFault. */
  #takeOne(): void {
    const { record, mask } = this;
    const { u32: device } = this.used;
    const { u32: guest } = this.guest.used;
    const source = 1 + 2 * (this.deviceUsed & mask);
    const id = device[source]!;
    let length = device[source + 1]!;
    if (id > mask || !record.isHeld(id)) throw neverOffered(id);
    const writable = record.writableBytes(id);
    if (length > writable) {
      length = writable;
      this.counts.overlongUsed++;
    }
    record.finish(id, this.dataLog);
    const target = 1 + 2 * (this.usedIndex & mask);
    guest[target] = id;
    guest[target + 1] = length;
    this.deviceUsed = (this.deviceUsed + 1) & 0xffff;
    this.usedIndex = (this.usedIndex + 1) & 0xffff;
  }

  /**
   * §2.7.9: one used element may stand for a batch, of which it names the last chain; it lies in the slot of the
   * first. It is spread over the slots of the batch, the chains before the last with all that can be written.
   */
  #takeUsedInOrder(count: number): void {
    const { u32 } = this.used;
    const order = this.avail.u16;
    const mask = this.mask;
    for (let left = count; left > 0; ) {
      const start = this.deviceUsed;
      const id = u32[1 + 2 * (start & mask)]!;
      const length = u32[2 + 2 * (start & mask)]!;
      if (id > mask || !this.record.isHeld(id)) throw neverOffered(id);
      let batch = 0;
      for (let next = -1; next !== id; batch++) {
        if (batch === left) {
          throw new RingFault("device", `the batch up to id ${id} is longer than what was used`);
        }
        const slot = (start + batch) & mask;
        next = order[2 + slot]!;
        if (next > mask || !this.record.isHeld(next)) throw neverOffered(next);
        u32[1 + 2 * slot] = next;
        u32[2 + 2 * slot] = next === id ? length : this.record.writableBytes(next);
      }
      this.#takeUsed(batch);
      left -= batch;
    }
  }

  callWanted(): boolean {
    const now = this.usedIndex;
    const old = this.#calledAt;
    if (now === old) return false;
    this.#calledAt = now;
    try {
      // `publish` has fenced.
      const wish = this.guest.callWish();
      return this.ring.eventIdx ? splitEventDue(wish, now, old) : (wish & AVAIL_NO_INTERRUPT) === 0;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  setDeviceCalls(on: boolean): boolean {
    const { u16 } = this.avail;
    const { eventIdx, size } = this.ring;
    const at = eventIdx ? 2 + size : 0;
    const quiet = eventIdx ? (this.deviceUsed - 1) & 0xffff : AVAIL_NO_INTERRUPT;
    const wish = on ? (eventIdx ? this.deviceUsed : 0) : quiet;
    if (wish !== this.#callWish) {
      this.#callWish = wish;
      u16[at] = wish;
      fullFence();
    }
    if (!on) return false;
    return this.used.u16[1] !== this.deviceUsed;
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.logging = logging;
    // Asks for kicks anew, so that a log has the page of the wish whatever came before it.
    this.kickWish = -1;
    this.guest.setLogging(logging);
  }

  base(): RingPosition {
    const index = this.usedIndex;
    return { availPosition: index, availWrap: 0, usedPosition: index, usedWrap: 0 };
  }

  closeHoles(): RingPosition {
    this.guarded(() => {
      for (const [i, head] of this.heldInOrder().entries()) {
        this.guest.rewriteHead((this.usedIndex + i) & 0xffff, head);
        this.record.finish(head, this.dataLog);
      }
    });
    return this.base();
  }

  rebind(): void {
    this.view.refresh();
    this.guarded(() => {
      this.guest = faultOf(() => new SplitGuestRing(this.memory, this.ring));
      this.kickWish = -1;
      this.guest.setLogging(this.logging);
    });
  }
}

const neverOffered = (id: number) =>
  new RingFault("device", `chain ${id} was used, which the device does not hold`);
