import { OperatorError } from "../hw/operator-error.ts";
import { FREE, LISTED, plainOf } from "./chain-record.ts";
import { type DevicePart, splitDeviceMemory } from "./device-memory.ts";
import { fullFence, fullFenceAfterStore } from "./fences.ts";
import type { RelayOptions, RingRelay } from "./relay.ts";
import { RelayBase } from "./relay-base.ts";
import { RingFault } from "./ring-fault.ts";
import { DESC_INDIRECT, DESC_NEXT, DESC_WRITE, splitEventDue, USED_NO_NOTIFY } from "./ring-format.ts";
import { SplitGuestRing } from "./split-guest-ring.ts";

/** The half of a split relay that gives the guest's chains to the device. */
export abstract class SplitFeed extends RelayBase {
  readonly deviceQueue: RingRelay["deviceQueue"];
  protected readonly mask: number;
  protected readonly avail: DevicePart;
  protected readonly used: DevicePart;
  protected guest: SplitGuestRing;
  /** The guest's side: next entry to forward, next used element to write. */
  protected availIndex = 0;
  protected usedIndex = 0;
  /** The device's side, likewise; and where each side stood when notification was last considered. */
  protected deviceAvail = 0;
  protected deviceUsed = 0;
  protected kickedAt = 0;
  /** What the guest's used ring asks the guest for: the flags, or the event index; -1 while that is not known. */
  protected kickWish = -1;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a split ring */
  protected constructor(options: RelayOptions) {
    const { ring, memory, buffer, offset } = options;
    const { size } = ring;
    if (size < 1 || size > 32768 || (size & (size - 1)) !== 0) {
      throw new OperatorError(`a split ring of ${size} entries`, {
        why: "it must be a power of two up to 32768",
        kind: "protocol",
      });
    }
    super(options);
    this.mask = size - 1;
    ({ avail: this.avail, used: this.used } = splitDeviceMemory(buffer, offset, size));
    this.deviceQueue = { desc: ring.descGpa, driver: this.avail.iova, device: this.used.iova };
    this.guest = new SplitGuestRing(memory, ring);
  }

  forward(): number {
    if (this.fault) return 0;
    const before = this.deviceAvail;
    try {
      this.#feed();
    } catch (error) {
      this.fail(error);
    }
    const moved = (this.deviceAvail - before) & 0xffff;
    if (moved > 0) {
      // A release: heads first.
      Atomics.store(this.avail.u16, 1, this.deviceAvail);
      this.outstanding += moved;
      this.counts.forwarded += moved;
    }
    return moved;
  }

  #feed(): void {
    const guest = this.guest;
    const { size } = this.ring;
    const seen = guest.availIndex(this.availIndex);
    let count = (seen - this.availIndex) & 0xffff;
    if (count === 0) return;
    // §2.7.13: a driver never has more entries available than the ring has slots.
    if (count + this.outstanding > size) {
      throw new RingFault(
        "guest",
        `the available index went from ${this.availIndex} to ${seen} with ${this.outstanding} entries in use in a ring of ${size}`,
      );
    }
    if (this.limited) count = this.#upToBoundary(count);
    guest.pullHeads(this.availIndex, count);
    this.starved = false;
    for (let left = count; left > 0; ) {
      const taken = this.#takePlain(left);
      if (taken === 0 && !this.#takeOne()) {
        this.starved = true;
        return;
      }
      left -= taken || 1;
    }
  }

  /**
   * Takes entries whose chain is one plain buffer, up to `count` and to where one of the rings begins anew, until there
   * is another one. No call and nothing to catch, so that the JIT keeps all in registers. An index beyond an array
   * reads `undefined`, which costs no check of its own.
   * @returns how many
   */
  #takePlain(count: number): number {
    const { desc, avail } = this.guest;
    if (desc.copied) return 0;
    const { mask, availIndex, deviceAvail, forwarded, since } = this;
    const table = desc.i32;
    const heads = avail.u16;
    const ours = this.avail.u16;
    const { plain, writable } = this.record;
    const { firstPage, endPage } = this.view;
    const fromSlot = availIndex & mask;
    const toSlot = deviceAvail & mask;
    const first = 2 + fromSlot;
    const end = first + Math.min(count, mask + 1 - Math.max(fromSlot, toSlot));
    let from = first;
    let to = 2 + toSlot;
    let when = forwarded;
    // `| 0` spares the overflow check.
    for (; from < end; from = (from + 1) | 0) {
      const head = heads[from]!;
      if (plain[head] !== FREE) break;
      const at = head << 2;
      const flags = table[at | 3]!;
      if ((flags & (DESC_NEXT | DESC_INDIRECT)) !== 0) break;
      const write = flags & DESC_WRITE;
      const length = table[at | 2]!;
      const noted = plainOf(table[at]!, table[at | 1]!, length, write, firstPage, endPage);
      if (noted === LISTED) break;
      plain[head] = noted;
      writable[head] = write === 0 ? 0 : length;
      since[head] = when++;
      ours[to] = head;
      to = (to + 1) | 0;
    }
    this.#moved(from - first);
    return from - first;
  }

  /** Takes the next entry by a look of its own; false when there is no room to remember it. Throws RingFault. */
  #takeOne(): boolean {
    const { size } = this.ring;
    const head = this.guest.avail.u16[2 + (this.availIndex & this.mask)]!;
    if (head >= size) throw new RingFault("guest", `head ${head} is available in a ring of ${size}`);
    if (this.record.isHeld(head)) {
      throw new RingFault("guest", `head ${head} is available again while it is in use`);
    }
    if (!this.#take(head)) return false;
    this.since[head] = this.forwarded;
    this.avail.u16[2 + (this.deviceAvail & this.mask)] = head;
    this.#moved(1);
    return true;
  }

  #moved(count: number): void {
    this.forwarded += count;
    this.availIndex = (this.availIndex + count) & 0xffff;
    this.deviceAvail = (this.deviceAvail + count) & 0xffff;
  }

  /** Entries that may be forwarded until the index of a fresh ring. */
  #upToBoundary(count: number): number {
    if (this.atBoundary) return 0;
    const left = 65536 - this.availIndex;
    if (count < left) return count;
    this.atBoundary = true;
    return left;
  }

  /** Checks the chain at `head` and notes its writable buffers; false when there is no room. Throws RingFault. */
  #take(head: number): boolean {
    const { reader, record } = this;
    const { size } = this.ring;
    const { u32 } = this.guest.desc;
    let fits = false;
    reader.begin(head);
    try {
      for (let at = head; ; ) {
        this.guest.pullDescriptor(at);
        const low = u32[4 * at]!;
        const high = u32[4 * at + 1]!;
        const length = u32[4 * at + 2]!;
        const rest = u32[4 * at + 3]!;
        const flags = rest & 0xffff;
        if (flags & DESC_INDIRECT) {
          fits = reader.table(low, high, length, flags, false);
          return fits;
        }
        if (!reader.buffer(low, high, length, flags)) return false;
        if (!(flags & DESC_NEXT)) {
          fits = true;
          return true;
        }
        at = rest >>> 16;
        if (at >= size) throw new RingFault("guest", `descriptor ${at} follows in a ring of ${size}`);
      }
    } finally {
      if (fits) record.settle(head);
      else record.finish(head, undefined);
    }
  }

  kickWanted(): boolean {
    const now = this.deviceAvail;
    const old = this.kickedAt;
    if (this.fault || now === old) return false;
    this.kickedAt = now;
    fullFenceAfterStore();
    const { u16 } = this.used;
    if (!this.ring.eventIdx) return (u16[0]! & USED_NO_NOTIFY) === 0;
    return splitEventDue(u16[2 + 4 * this.ring.size]!, now, old);
  }

  setGuestKicks(on: boolean): boolean {
    if (this.fault) return false;
    const guest = this.guest;
    try {
      const { eventIdx } = this.ring;
      // With event idx the index that was passed long ago keeps the guest quiet.
      const wish = eventIdx ? (on ? this.availIndex : this.kickWish) : on ? 0 : USED_NO_NOTIFY;
      if (wish !== this.kickWish) {
        this.kickWish = wish;
        if (eventIdx) guest.writeAvailEvent(wish);
        else guest.writeUsedFlags(wish);
        fullFence();
      }
      if (!on) return false;
      return !this.atBoundary && guest.availIndex(this.availIndex) !== this.availIndex;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  limitFeed(on: boolean): void {
    this.limited = on;
    this.atBoundary = on && this.availIndex === 0;
  }
}
