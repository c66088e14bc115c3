import { FREE, LISTED, PAGE_MASK, READ_ONLY } from "./chain-record.ts";
import { acquireFence, fullFence } from "./fences.ts";
import { PackedFeed } from "./packed-feed.ts";
import { RingFault } from "./ring-fault.ts";
import {
  countMarked,
  DESC_USED,
  DESC_WRITE,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_ENABLE,
  isUsed,
  packedEventDue,
  usedFlags,
} from "./ring-format.ts";

const NO_WORDS = new Int32Array(0);
/** Above all that `ChainRecord.plain` can say. */
const NOT_LOGGED = 2 ** 31 - 1;

/** The half of a packed relay that gives the device's completions to the guest. */
export abstract class PackedCompletion extends PackedFeed {
  /** Descriptors since a call was last considered. */
  #uncalled = 0;
  /** What our driver area asks the device for, -1 while that is not known. */
  #callWish = -1;
  /** The used element of the running batch that is shown last. */
  #batchAt = 0;
  #batchFlags = 0;
  #batchSlots = 0;

  protected override clear(): void {
    super.clear();
    this.#uncalled = 0;
    this.#callWish = -1;
  }

  complete(): number {
    if (this.fault) return 0;
    const before = this.outstanding;
    this.#batchSlots = 0;
    try {
      this.#takeUsed();
    } catch (error) {
      this.fail(error);
    }
    const moved = before - this.outstanding;
    if (moved === 0) return 0;
    this.counts.completed += moved;
    this.#uncalled += this.#batchSlots;
    try {
      this.guest.publishUsed(this.#batchAt, this.#batchFlags, this.#batchSlots);
    } catch (error) {
      this.fail(error);
    }
    return moved;
  }

  /** Takes used descriptors: logs what the device may have written and writes the guest's. */
  #takeUsed(): void {
    const { inOrder } = this.ring;
    for (;;) {
      let found = this.#scanUsed();
      if (found === 0) return;
      while (found > 0) {
        const taken = inOrder ? 0 : this.#takePlain(found);
        // After a chain of several descriptors the next used one is further on.
        if (taken === 0 && this.#takeNamed() > 1) break;
        found -= taken || 1;
      }
    }
  }

  /** How many used descriptors follow each other from the device's used position on; the rest of them is read later. */
  #scanUsed(): number {
    const { u16 } = this.desc;
    const { size } = this.ring;
    const up = size - this.deviceUsed;
    let found = countMarked(u16, this.deviceUsed, up, usedFlags(this.deviceUsedWrap));
    if (found === up) found += countMarked(u16, 0, size - up, usedFlags(this.deviceUsedWrap ^ 1));
    if (found > 0) acquireFence();
    return found;
  }

  /**
   * Takes used descriptors of plain chains, up to `found` and to where one of the rings begins anew, until there is one
   * about which anything is special. No call and nothing to catch, so that the JIT keeps all in registers. An index
   * beyond an array reads `undefined`, which costs no check of its own.
   * @returns how many
   */
  #takePlain(found: number): number {
    const { usedPosition, deviceUsed, freeIds, freeCount } = this;
    const device = this.desc.i32;
    const guest = this.guest.desc.i32;
    const { plain, writable } = this.record;
    const saved = this.saved.words;
    const log = this.dataLog;
    const logWords = log?.words ?? NO_WORDS;
    const loggedFrom = log ? 0 : NOT_LOGGED;
    const marks = usedFlags(this.usedWrap);
    const first = 4 * deviceUsed;
    const end = first + 4 * Math.min(found, this.ring.size - Math.max(usedPosition, deviceUsed));
    let to = 4 * usedPosition;
    let free = freeCount;
    let marked = 0;
    // Without USED turned a descriptor is the available one that it was: so the first of a batch is hidden until the end.
    const hidden = this.#batchSlots === 0;
    let turn = hidden ? DESC_USED << 16 : 0;
    let headFlags = 0;
    // `| 0` spares the overflow check.
    for (let from = first; from < end; from = (from + 4) | 0) {
      const rest = device[from | 3]!;
      const length = device[from | 2]!;
      const id = rest & 0xffff;
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
      const flags = ((rest >>> 16) & DESC_WRITE) | marks;
      const at = id << 2;
      guest[to | 2] = length;
      guest[to | 3] = ((flags << 16) ^ turn) | (saved[at | 3]! & 0xffff);
      if (turn !== 0) {
        headFlags = flags;
        turn = 0;
      }
      freeIds[free] = id;
      free = (free + 1) | 0;
      to = (to + 4) | 0;
    }
    if (log) log.marked += marked;
    const taken = free - freeCount;
    if (taken === 0) return 0;
    if (hidden) {
      this.#batchAt = usedPosition;
      this.#batchFlags = headFlags;
    }
    this.freeCount = free;
    this.outstanding -= taken;
    this.#moved(taken);
    return taken;
  }

  /** Moves on by so many descriptors. */
  #moved(slots: number): void {
    const { size } = this.ring;
    this.#batchSlots += slots;
    this.slotsInUse -= slots;
    this.usedPosition += slots;
    if (this.usedPosition >= size) {
      this.usedPosition -= size;
      this.usedWrap ^= 1;
    }
    this.deviceUsed += slots;
    if (this.deviceUsed >= size) {
      this.deviceUsed -= size;
      this.deviceUsedWrap ^= 1;
    }
  }

  /**
   * Takes the used descriptor at the device's used position, whatever its chain is. With IN_ORDER it may stand for a
   * batch that ends with the chain it names (§2.8.9); the chains before that get descriptors of their own, with all
   * that can be written. Throws RingFault.
   * @returns how many slots were taken
   */
  #takeNamed(): number {
    const { u32 } = this.desc;
    const { size, inOrder } = this.ring;
    const { record, deviceUsed } = this;
    const rest = u32[4 * deviceUsed + 3]!;
    const named = rest & 0xffff;
    const namedLength = u32[4 * deviceUsed + 2]!;
    const namedWrite = (rest >>> 16) & DESC_WRITE;
    if (named >= size || !record.isHeld(named)) {
      throw new RingFault("device", `chain ${named} was used, which the device does not hold`);
    }
    const before = this.#batchSlots;
    while (inOrder && this.order[this.orderFirst] !== named) {
      const id = this.order[this.orderFirst]!;
      const length = record.writableBytes(id);
      this.#takeChain(id, length, length === 0 ? 0 : DESC_WRITE);
    }
    const writable = record.writableBytes(named);
    // §2.8.21: without WRITE the length means nothing.
    if (namedLength > writable && namedWrite) this.counts.overlongUsed++;
    this.#takeChain(named, Math.min(namedLength, writable), namedWrite);
    return this.#batchSlots - before;
  }

  /** Finishes a chain and writes its used descriptor for the guest. */
  #takeChain(id: number, length: number, write: number): void {
    const { size, inOrder } = this.ring;
    const { u16, u32 } = this.guest.desc;
    const slots = this.record.plain[id] === LISTED ? this.slots[id]! : 1;
    this.record.finish(id, this.dataLog);
    const flags = usedFlags(this.usedWrap) | write;
    u32[4 * this.usedPosition + 2] = length;
    u16[8 * this.usedPosition + 6] = this.saved.guestId(id);
    if (this.#batchSlots === 0) {
      this.#batchAt = this.usedPosition;
      this.#batchFlags = flags;
    } else {
      u16[8 * this.usedPosition + 7] = flags;
    }
    if (slots > 1) this.saved.release(id);
    this.freeIds[this.freeCount++] = id;
    if (inOrder && ++this.orderFirst === size) this.orderFirst = 0;
    this.#moved(slots);
    this.outstanding--;
  }

  callWanted(): boolean {
    const moved = this.#uncalled;
    if (moved === 0) return false;
    this.#uncalled = 0;
    try {
      // `publishUsed` has fenced.
      const flags = this.guest.callFlags();
      if (flags === EVENT_ENABLE) return true;
      if (flags === EVENT_DISABLE) return false;
      return packedEventDue(this.guest.callEvent(), this.usedPosition, this.usedWrap, moved, this.ring.size);
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  setDeviceCalls(on: boolean): boolean {
    const { u16 } = this.driver;
    const wish = this.wishFor(on, this.deviceUsed, this.deviceUsedWrap);
    if (wish !== this.#callWish) {
      this.#callWish = wish;
      if (on && this.ring.eventIdx) {
        u16[0] = wish;
        Atomics.store(u16, 1, EVENT_DESC);
      } else {
        u16[1] = on ? EVENT_ENABLE : EVENT_DISABLE;
      }
      fullFence();
    }
    if (!on) return false;
    return isUsed(this.desc.u16[8 * this.deviceUsed + 7]!, this.deviceUsedWrap);
  }
}
