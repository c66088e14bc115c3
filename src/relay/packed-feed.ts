import { LISTED, plainOf } from "./chain-record.ts";
import { acquireFence, fullFence, fullFenceAfterStore } from "./fences.ts";
import { PackedSides } from "./packed-sides.ts";
import { RingFault } from "./ring-fault.ts";
import {
  availFlags,
  DESC_AVAIL,
  DESC_INDIRECT,
  DESC_NEXT,
  DESC_USED,
  DESC_WRITE,
  EVENT_DISABLE,
  EVENT_ENABLE,
  packedEventDue,
} from "./ring-format.ts";

const KEPT_FLAGS = DESC_NEXT | DESC_WRITE | DESC_INDIRECT;
/** Both flags of availability in a descriptor's last word. */
const TURN = (DESC_AVAIL | DESC_USED) << 16;

/** The half of a packed relay that gives the guest's chains to the device. */
export abstract class PackedFeed extends PackedSides {
  /** The head whose flags `forward` shows last. */
  #heldBack = -1;
  #heldFlags = 0;
  /** Descriptors since a kick was last considered. */
  #unkicked = 0;

  protected override clear(): void {
    super.clear();
    this.#unkicked = 0;
  }

  forward(): number {
    if (this.fault) return 0;
    const before = this.outstanding;
    this.#heldBack = -1;
    try {
      this.#feed();
    } catch (error) {
      this.fail(error);
    }
    if (this.#heldBack < 0) return 0;
    // A release: the device can not pass the first head, so that it sees the whole batch or nothing.
    Atomics.store(this.desc.u16, 8 * this.#heldBack + 7, this.#heldFlags);
    const moved = this.outstanding - before;
    this.counts.forwarded += moved;
    return moved;
  }

  #feed(): void {
    const { size } = this.ring;
    this.starved = false;
    let left = size - this.slotsInUse;
    if (this.limited) {
      if (this.atBoundary) return;
      // Up to where position 0 with wrap counter 1 follows; a chain may reach beyond.
      if (this.availWrap === 0) left = Math.min(left, size - this.availPosition);
    }
    const guest = this.guest;
    let found = guest.scan(this.availPosition, this.availWrap, left);
    try {
      while (found > 0) {
        const taken = this.#takePlain(found) || this.#take(found, size - this.slotsInUse);
        if (taken === 0) {
          this.starved = true;
          return;
        }
        found -= taken;
        if (this.limited && this.isBoundary()) {
          this.atBoundary = true;
          return;
        }
      }
    } finally {
      // What a chain that was not taken has left behind.
      if (this.freeCount > 0) this.#forget(this.freeIds[this.freeCount - 1]!);
    }
  }

  #forget(id: number): void {
    if (this.record.isHeld(id)) this.record.finish(id, undefined);
    this.saved.release(id);
  }

  /**
   * Takes chains that are one plain buffer each, up to `found` and to where one of the rings begins anew, until there
   * is another one. No call and nothing to catch, so that the JIT keeps all in registers.
   * @returns how many
   */
  #takePlain(found: number): number {
    const { availPosition, deviceAvail, forwarded, since, freeIds, freeCount } = this;
    const { i32 } = this.guest.desc;
    const { firstPage, endPage } = this.view;
    const { plain, writable } = this.record;
    const saved = this.saved.words;
    const ours = this.desc.i32;
    const marks = availFlags(this.deviceAvailWrap);
    const first = 4 * availPosition;
    const end = first + 4 * Math.min(found, this.ring.size - Math.max(availPosition, deviceAvail));
    // With both flags turned around a descriptor is not available: so the first of a batch is hidden until the end.
    const hidden = this.#heldBack < 0;
    let turn = hidden ? TURN : 0;
    let to = 4 * deviceAvail;
    let free = freeCount;
    let when = forwarded;
    // `| 0` spares the overflow check.
    for (let from = first; from < end; from = (from + 4) | 0) {
      const rest = i32[from | 3]!;
      const flags = (rest >>> 16) & KEPT_FLAGS;
      if ((flags & (DESC_NEXT | DESC_INDIRECT)) !== 0) break;
      const write = flags & DESC_WRITE;
      const low = i32[from]!;
      const high = i32[from | 1]!;
      const length = i32[from | 2]!;
      const noted = plainOf(low, high, length, write, firstPage, endPage);
      if (noted === LISTED) break;
      free = (free - 1) | 0;
      const id = freeIds[free]!;
      plain[id] = noted;
      writable[id] = write === 0 ? 0 : length;
      since[id] = when++;
      // As SavedChains does it.
      const at = id << 2;
      saved[at] = low;
      saved[at | 1] = high;
      saved[at | 2] = length;
      saved[at | 3] = (flags << 16) | (rest & 0xffff);
      ours[to] = low;
      ours[to | 1] = high;
      ours[to | 2] = length;
      ours[to | 3] = (((flags | marks) << 16) ^ turn) | id;
      turn = 0;
      to = (to + 4) | 0;
    }
    const taken = freeCount - free;
    if (taken === 0) return 0;
    if (hidden) {
      this.#heldBack = deviceAvail;
      this.#heldFlags = (saved[4 * freeIds[freeCount - 1]! + 3]! >>> 16) | marks;
    }
    if (this.ring.inOrder) for (let i = 1; i <= taken; i++) this.inOrderNext(freeIds[freeCount - i]!);
    this.freeCount = free;
    this.outstanding += taken;
    this.forwarded += taken;
    this.#moved(taken);
    return taken;
  }

  /** Moves on by so many descriptors. */
  #moved(slots: number): void {
    const { size } = this.ring;
    this.slotsInUse += slots;
    this.#unkicked += slots;
    this.availPosition += slots;
    if (this.availPosition >= size) {
      this.availPosition -= size;
      this.availWrap ^= 1;
    }
    this.deviceAvail += slots;
    if (this.deviceAvail >= size) {
      this.deviceAvail -= size;
      this.deviceAvailWrap ^= 1;
    }
  }

  /** Counts in a chain whose descriptors are in our ring but for the flags of the first. */
  #taken(id: number, guestId: number, slots: number, headFlags: number): void {
    const head = this.deviceAvail;
    if (this.#heldBack < 0) {
      this.#heldBack = head;
      this.#heldFlags = headFlags;
      this.desc.u16[8 * head + 6] = id;
    } else {
      this.desc.u32[4 * head + 3] = (headFlags << 16) | id;
    }
    // What is plain takes one slot.
    if (slots === 1) this.record.settle(id);
    this.saved.name(id, guestId);
    this.slots[id] = slots;
    this.since[id] = this.forwarded++;
    this.freeCount--;
    if (this.ring.inOrder) this.inOrderNext(id);
    this.outstanding++;
    this.#moved(slots);
  }

  /**
   * Copies the chain at the available position into our ring.
   * @param found descriptors from there on that `scan` has read
   * @param room descriptors that our ring has left
   * @returns how many descriptors the chain takes, 0 when there is no room to remember it
   */
  #take(found: number, room: number): number {
    const { size } = this.ring;
    const guest = this.guest;
    const { u32 } = guest.desc;
    const ours = this.desc.u32;
    const reader = this.reader;
    const id = this.freeIds[this.freeCount - 1]!;
    const head = this.deviceAvail;
    let at = this.availPosition;
    let to = head;
    let toWrap = this.deviceAvailWrap;
    let slots = 0;
    let headFlags = 0;
    let guestId = 0;
    reader.begin(id);
    for (;;) {
      if (slots === room)
        throw new RingFault("guest", `a descriptor chain at ${this.availPosition} does not end`);
      if (slots >= found) guest.fetch(at);
      const low = u32[4 * at]!;
      const high = u32[4 * at + 1]!;
      const length = u32[4 * at + 2]!;
      const rest = u32[4 * at + 3]!;
      guestId = rest & 0xffff;
      const flags = (rest >>> 16) & KEPT_FLAGS;
      let fits: boolean;
      if (flags & DESC_INDIRECT) {
        if (slots > 0) throw new RingFault("guest", "an indirect descriptor inside a chain of a packed ring");
        fits = reader.table(low, high, length, flags, true);
      } else {
        fits = reader.buffer(low, high, length, flags);
      }
      if (!fits) return 0;
      if (slots === 0) this.saved.first(id, low, high, length, flags);
      else this.saved.add(low, high, length, flags);
      ours[4 * to] = low;
      ours[4 * to + 1] = high;
      ours[4 * to + 2] = length;
      const shown = flags | availFlags(toWrap);
      if (slots === 0) headFlags = shown;
      else ours[4 * to + 3] = (shown << 16) | id;
      slots++;
      if (++at === size) at = 0;
      if (++to === size) {
        to = 0;
        toWrap ^= 1;
      }
      if (!(flags & DESC_NEXT)) break;
    }
    // §2.8.6: the last descriptor of a chain has its buffer id.
    this.#taken(id, guestId, slots, headFlags);
    return slots;
  }

  kickWanted(): boolean {
    const moved = this.#unkicked;
    if (this.fault || moved === 0) return false;
    this.#unkicked = 0;
    fullFenceAfterStore();
    const { u16 } = this.device;
    const flags = u16[1]! & 3;
    if (flags === EVENT_ENABLE) return true;
    if (flags === EVENT_DISABLE) return false;
    acquireFence();
    return packedEventDue(u16[0]!, this.deviceAvail, this.deviceAvailWrap, moved, this.ring.size);
  }

  setGuestKicks(on: boolean): boolean {
    if (this.fault) return false;
    try {
      const wish = this.wishFor(on, this.availPosition, this.availWrap);
      if (wish !== this.kickWish) {
        this.kickWish = wish;
        this.guest.writeKickWish(on, this.availPosition, this.availWrap);
        fullFence();
      }
      if (!on) return false;
      return !this.atBoundary && this.guest.isAvail(this.availPosition, this.availWrap);
    } catch (error) {
      this.fail(error);
      return false;
    }
  }
}
