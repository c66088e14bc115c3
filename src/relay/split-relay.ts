import { OperatorError } from "../hw/operator-error.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { ChainReader } from "./chain-reader.ts";
import { ChainRecord } from "./chain-record.ts";
import { type DevicePart, splitDeviceMemory } from "./device-memory.ts";
import { acquireFence, fullFence } from "./fences.ts";
import { GuestView } from "./guest-view.ts";
import { FREE, outstandingInOrder } from "./outstanding.ts";
import type { GuestRing, RelayLogging, RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { RelayCounts } from "./relay-counts.ts";
import { faultOf, RingFault } from "./ring-fault.ts";
import {
  AVAIL_NO_INTERRUPT,
  DESC_INDIRECT,
  DESC_NEXT,
  splitEventDue,
  USED_NO_NOTIFY,
} from "./ring-format.ts";
import { SplitGuestRing } from "./split-guest-ring.ts";

/**
 * A split ring whose descriptor table is the guest's own, while the available and the used ring that the device sees
 * are ours and begin at index 0. Completions reach the guest in the device's order.
 */
export class SplitRelay implements RingRelay {
  readonly deviceQueue: RingRelay["deviceQueue"];
  readonly counts = new RelayCounts();
  fault: RingFault | undefined;
  outstanding = 0;
  starved = false;
  readonly #ring: GuestRing;
  readonly #memory: GuestMemory;
  readonly #mask: number;
  readonly #avail: DevicePart;
  readonly #used: DevicePart;
  readonly #view: GuestView;
  readonly #record: ChainRecord;
  readonly #reader: ChainReader;
  /** When each head was forwarded, in entries since the start; -1 while the device does not hold it. */
  readonly #since: Float64Array;
  #forwarded = 0;
  #guest: SplitGuestRing;
  #logging: RelayLogging | undefined;
  /** The guest's side: next entry to forward, next used element to write. */
  #availIndex = 0;
  #usedIndex = 0;
  /** The device's side, likewise; and where each side stood when notification was last considered. */
  #deviceAvail = 0;
  #deviceUsed = 0;
  #kickedAt = 0;
  #calledAt = 0;
  #limited = false;
  #atBoundary = false;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a split ring */
  constructor({ ring, memory, buffer, offset }: RelayOptions) {
    const { size } = ring;
    if (size < 1 || size > 32768 || (size & (size - 1)) !== 0) {
      throw new OperatorError(`a split ring of ${size} entries`, {
        why: "it must be a power of two up to 32768",
        kind: "protocol",
      });
    }
    this.#ring = ring;
    this.#memory = memory;
    this.#mask = size - 1;
    ({ avail: this.#avail, used: this.#used } = splitDeviceMemory(buffer, offset, size));
    this.deviceQueue = { desc: ring.descGpa, driver: this.#avail.iova, device: this.#used.iova };
    this.#view = new GuestView(memory);
    this.#record = new ChainRecord(size);
    this.#reader = new ChainReader(this.#view, this.#record, size, ring.indirect);
    this.#since = new Float64Array(size).fill(FREE);
    this.#guest = new SplitGuestRing(memory, ring);
  }

  start({ usedPosition }: RingPosition): void {
    this.#avail.u16.fill(0);
    this.#used.u32.fill(0);
    this.#record.clear();
    this.#since.fill(FREE);
    this.fault = undefined;
    this.starved = false;
    this.outstanding = 0;
    this.#forwarded = 0;
    this.#availIndex = usedPosition;
    this.#usedIndex = usedPosition;
    this.#calledAt = usedPosition;
    this.#deviceAvail = 0;
    this.#deviceUsed = 0;
    this.#kickedAt = 0;
    this.#atBoundary = this.#limited && usedPosition === 0;
    this.#guarded(() => this.#guest.syncUsedIndex(usedPosition));
  }

  forward(): number {
    if (this.fault) return 0;
    const before = this.#deviceAvail;
    try {
      this.#feed();
    } catch (error) {
      this.#fail(error);
    }
    const moved = (this.#deviceAvail - before) & 0xffff;
    if (moved > 0) {
      // A release: heads first.
      Atomics.store(this.#avail.u16, 1, this.#deviceAvail);
      this.counts.forwarded += moved;
    }
    return moved;
  }

  #feed(): void {
    const size = this.#ring.size;
    const guest = this.#guest;
    const seen = guest.availIndex(this.#availIndex);
    let count = (seen - this.#availIndex) & 0xffff;
    if (count === 0) return;
    // §2.7.13: a driver never has more entries available than the ring has slots.
    if (count + this.outstanding > size) {
      throw new RingFault(
        "guest",
        `the available index went from ${this.#availIndex} to ${seen} with ${this.outstanding} entries in use in a ring of ${size}`,
      );
    }
    if (this.#limited) count = this.#upToBoundary(count);
    guest.pullHeads(this.#availIndex, count);
    const heads = guest.avail.u16;
    const ours = this.#avail.u16;
    const since = this.#since;
    const mask = this.#mask;
    this.starved = false;
    for (; count > 0; count--) {
      const head = heads[2 + (this.#availIndex & mask)]!;
      if (head >= size) throw new RingFault("guest", `head ${head} is available in a ring of ${size}`);
      if (since[head]! !== FREE)
        throw new RingFault("guest", `head ${head} is available again while it is in use`);
      if (!this.#take(head)) {
        this.#record.finish(head, undefined);
        this.starved = true;
        return;
      }
      since[head] = this.#forwarded++;
      ours[2 + (this.#deviceAvail & mask)] = head;
      this.outstanding++;
      this.#availIndex = (this.#availIndex + 1) & 0xffff;
      this.#deviceAvail = (this.#deviceAvail + 1) & 0xffff;
    }
  }

  /** Entries that may be forwarded until the index of a fresh ring. */
  #upToBoundary(count: number): number {
    if (this.#atBoundary) return 0;
    const left = 65536 - this.#availIndex;
    if (count < left) return count;
    this.#atBoundary = true;
    return left;
  }

  /** Checks the chain at `head` and notes its writable buffers; false when there is no room. */
  #take(head: number): boolean {
    const reader = this.#reader;
    const { size } = this.#ring;
    const { u32 } = this.#guest.desc;
    reader.begin(head);
    for (let at = head; ; ) {
      this.#guest.pullDescriptor(at);
      const low = u32[4 * at]!;
      const high = u32[4 * at + 1]!;
      const length = u32[4 * at + 2]!;
      const rest = u32[4 * at + 3]!;
      const flags = rest & 0xffff;
      if (flags & DESC_INDIRECT) return reader.table(low, high, length, flags, false);
      if (!reader.buffer(low, high, length, flags)) return false;
      if (!(flags & DESC_NEXT)) return true;
      at = rest >>> 16;
      if (at >= size) throw new RingFault("guest", `descriptor ${at} follows in a ring of ${size}`);
    }
  }

  kickWanted(): boolean {
    const now = this.#deviceAvail;
    const old = this.#kickedAt;
    if (this.fault || now === old) return false;
    this.#kickedAt = now;
    fullFence();
    const { u16 } = this.#used;
    if (!this.#ring.eventIdx) return (u16[0]! & USED_NO_NOTIFY) === 0;
    return splitEventDue(u16[2 + 4 * this.#ring.size]!, now, old);
  }

  complete(): number {
    if (this.fault) return 0;
    const seen = this.#used.u16[1]!;
    acquireFence();
    const count = (seen - this.#deviceUsed) & 0xffff;
    if (count === 0) return 0;
    const before = this.#usedIndex;
    try {
      if (count > this.outstanding) {
        throw new RingFault(
          "device",
          `the used index went from ${this.#deviceUsed} to ${seen} with ${this.outstanding} chains in use`,
        );
      }
      if (this.#ring.inOrder) this.#takeUsedInOrder(count);
      else this.#takeUsed(count);
    } catch (error) {
      this.#fail(error);
    }
    const moved = (this.#usedIndex - before) & 0xffff;
    if (moved === 0) return 0;
    this.counts.completed += moved;
    try {
      this.#guest.publish(before, this.#usedIndex);
    } catch (error) {
      this.#fail(error);
    }
    return moved;
  }

  #takeUsed(count: number): void {
    const { u32 } = this.#used;
    const mask = this.#mask;
    for (; count > 0; count--) {
      const slot = this.#deviceUsed & mask;
      const id = u32[1 + 2 * slot]!;
      const length = u32[2 + 2 * slot]!;
      if (id > mask || this.#since[id] === FREE) throw neverOffered(id);
      this.#finish(id, length);
      this.#deviceUsed = (this.#deviceUsed + 1) & 0xffff;
    }
  }

  /**
   * §2.7.9: one used element may stand for a batch, of which it names the last chain; it lies in the slot of the
   * first. Each chain gets an element of its own here, the ones before the last with all that can be written.
   */
  #takeUsedInOrder(count: number): void {
    const { u32 } = this.#used;
    const order = this.#avail.u16;
    const mask = this.#mask;
    while (count > 0) {
      const slot = this.#deviceUsed & mask;
      const id = u32[1 + 2 * slot]!;
      const length = u32[2 + 2 * slot]!;
      if (id > mask || this.#since[id] === FREE) throw neverOffered(id);
      for (;;) {
        if (count-- === 0)
          throw new RingFault("device", `the batch up to id ${id} is longer than what was used`);
        const next = order[2 + (this.#deviceUsed & mask)]!;
        if (next > mask || this.#since[next] === FREE) throw neverOffered(next);
        this.#finish(next, next === id ? length : Math.min(this.#record.writable[next]!, 0xffff_ffff));
        this.#deviceUsed = (this.#deviceUsed + 1) & 0xffff;
        if (next === id) break;
      }
    }
  }

  /** Logs what the device may have written to a chain and writes its used element. */
  #finish(head: number, length: number): void {
    const record = this.#record;
    const logging = this.#logging;
    if (logging?.data && record.pages[head]! > 0) {
      logging.log.markPages(record.firstPage[head]!, record.pages[head]!);
    }
    if (record.more[head]! >= 0) record.finish(head, logging?.data ? this.#mark : undefined);
    let written = length;
    if (length > record.writable[head]!) {
      written = record.writable[head]!;
      this.counts.overlongUsed++;
    }
    const at = 1 + 2 * (this.#usedIndex & this.#mask);
    const { u32 } = this.#guest.used;
    u32[at] = head;
    u32[at + 1] = written;
    this.#since[head] = FREE;
    this.outstanding--;
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
  }

  readonly #mark = (page: number, pages: number): void => this.#logging!.log.markPages(page, pages);

  callWanted(): boolean {
    const now = this.#usedIndex;
    const old = this.#calledAt;
    if (now === old) return false;
    this.#calledAt = now;
    fullFence();
    try {
      const wish = this.#guest.callWish();
      return this.#ring.eventIdx ? splitEventDue(wish, now, old) : (wish & AVAIL_NO_INTERRUPT) === 0;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  setGuestKicks(on: boolean): boolean {
    if (this.fault) return false;
    const guest = this.#guest;
    try {
      // With event idx the index that was passed long ago keeps the guest quiet.
      if (!this.#ring.eventIdx) guest.writeUsedFlags(on ? 0 : USED_NO_NOTIFY);
      else if (on) guest.writeAvailEvent(this.#availIndex);
      if (!on) return false;
      fullFence();
      return !this.#atBoundary && guest.availIndex(this.#availIndex) !== this.#availIndex;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  setDeviceCalls(on: boolean): boolean {
    const { u16 } = this.#avail;
    if (!this.#ring.eventIdx) u16[0] = on ? 0 : AVAIL_NO_INTERRUPT;
    else u16[2 + this.#ring.size] = on ? this.#deviceUsed : (this.#deviceUsed - 1) & 0xffff;
    if (!on) return false;
    fullFence();
    return this.#used.u16[1] !== this.#deviceUsed;
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.#logging = logging;
    this.#guest.logging = logging;
  }

  limitFeed(on: boolean): void {
    this.#limited = on;
    this.#atBoundary = on && this.#availIndex === 0;
  }

  get drainedAtBoundary(): boolean {
    return this.#atBoundary && this.outstanding === 0;
  }

  base(): RingPosition {
    const index = this.#usedIndex;
    return { availPosition: index, availWrap: 0, usedPosition: index, usedWrap: 0 };
  }

  closeHoles(): RingPosition {
    this.#guarded(() => {
      const heads = outstandingInOrder(this.#since);
      for (const [i, head] of heads.entries()) {
        this.#guest.rewriteHead((this.#usedIndex + i) & 0xffff, head);
        if (!this.#logging?.data) continue;
        if (this.#record.pages[head]! > 0)
          this.#mark(this.#record.firstPage[head]!, this.#record.pages[head]!);
        this.#record.finish(head, this.#mark);
      }
    });
    return this.base();
  }

  rebind(): void {
    this.#view.refresh();
    this.#guarded(() => {
      this.#guest = faultOf(() => new SplitGuestRing(this.#memory, this.#ring));
      this.#guest.logging = this.#logging;
    });
  }

  /** Runs what touches the guest's ring; a fault there stops the relay. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (!(error instanceof RingFault)) throw error;
    this.fault ??= error;
    if (error.side === "guest") this.counts.guestFaults++;
    else this.counts.deviceFaults++;
  }
}

const neverOffered = (id: number) =>
  new RingFault("device", `chain ${id} was used, which the device does not hold`);
