import { OperatorError } from "../hw/operator-error.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { ChainReader } from "./chain-reader.ts";
import { ChainRecord } from "./chain-record.ts";
import { type DevicePart, packedDeviceMemory } from "./device-memory.ts";
import { acquireFence, fullFence } from "./fences.ts";
import { GuestView } from "./guest-view.ts";
import { FREE, outstandingInOrder } from "./outstanding.ts";
import { PackedGuestRing } from "./packed-guest-ring.ts";
import type { GuestRing, RelayLogging, RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { RelayCounts } from "./relay-counts.ts";
import { faultOf, RingFault } from "./ring-fault.ts";
import {
  availFlags,
  DESC_INDIRECT,
  DESC_NEXT,
  DESC_WRITE,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_ENABLE,
  isUsed,
  packedEventDue,
  usedFlags,
} from "./ring-format.ts";
import { SavedChains } from "./saved-chains.ts";

const KEPT_FLAGS = DESC_NEXT | DESC_WRITE | DESC_INDIRECT;

/**
 * A packed ring that the device sees as a ring of ours: descriptors are rewritten into it with our position, wrap
 * counter and buffer ids; completions are written back with the guest's, in the device's order. Indirect tables are
 * the guest's own.
 */
export class PackedRelay implements RingRelay {
  readonly deviceQueue: RingRelay["deviceQueue"];
  readonly counts = new RelayCounts();
  fault: RingFault | undefined;
  outstanding = 0;
  starved = false;
  readonly #ring: GuestRing;
  readonly #memory: GuestMemory;
  readonly #desc: DevicePart;
  /** Event suppression areas: what we want of the device, what the device wants of us. */
  readonly #driver: DevicePart;
  readonly #device: DevicePart;
  readonly #view: GuestView;
  readonly #record: ChainRecord;
  readonly #reader: ChainReader;
  readonly #saved: SavedChains;
  /** By buffer id of ours: when the chain was forwarded (-1 while free), the guest's id, ring descriptors taken. */
  readonly #since: Float64Array;
  readonly #guestIds: Uint16Array;
  readonly #slots: Uint16Array;
  readonly #freeIds: Uint16Array;
  #freeCount = 0;
  /** Chains in the order they were forwarded; what the device holds when it completes in order. */
  readonly #order: Uint16Array;
  #orderFirst = 0;
  #orderEnd = 0;
  #forwarded = 0;
  #guest: PackedGuestRing;
  #logging: RelayLogging | undefined;
  #slotsInUse = 0;
  #availPosition = 0;
  #availWrap = 1;
  #usedPosition = 0;
  #usedWrap = 1;
  #deviceAvail = 0;
  #deviceAvailWrap = 1;
  #deviceUsed = 0;
  #deviceUsedWrap = 1;
  /** Descriptors since kick and call were last considered. */
  #unkicked = 0;
  #uncalled = 0;
  /** The head whose flags `forward` shows last. */
  #heldBack = -1;
  #heldFlags = 0;
  #limited = false;
  #atBoundary = false;
  /** The used element of the running batch that is shown last. */
  #batchAt = 0;
  #batchFlags = 0;
  #batchSlots = 0;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a packed ring */
  constructor({ ring, memory, buffer, offset }: RelayOptions) {
    const { size } = ring;
    if (!Number.isInteger(size) || size < 1 || size > 32768) {
      throw new OperatorError(`a packed ring of ${size} entries`, {
        why: "it must have 1 to 32768",
        kind: "protocol",
      });
    }
    this.#ring = ring;
    this.#memory = memory;
    ({
      desc: this.#desc,
      driver: this.#driver,
      device: this.#device,
    } = packedDeviceMemory(buffer, offset, size));
    this.deviceQueue = { desc: this.#desc.iova, driver: this.#driver.iova, device: this.#device.iova };
    this.#view = new GuestView(memory);
    this.#record = new ChainRecord(size);
    this.#reader = new ChainReader(this.#view, this.#record, size, ring.indirect);
    this.#saved = new SavedChains(size);
    this.#since = new Float64Array(size);
    this.#guestIds = new Uint16Array(size);
    this.#slots = new Uint16Array(size);
    this.#freeIds = new Uint16Array(size);
    this.#order = new Uint16Array(size);
    this.#guest = new PackedGuestRing(memory, ring);
    this.#clear();
  }

  #clear(): void {
    const { size } = this.#ring;
    this.#desc.u32.fill(0);
    this.#driver.u32.fill(0);
    this.#device.u32.fill(0);
    this.#record.clear();
    this.#saved.clear();
    this.#since.fill(FREE);
    for (let i = 0; i < size; i++) this.#freeIds[i] = size - 1 - i;
    this.#freeCount = size;
    this.#orderFirst = 0;
    this.#orderEnd = 0;
    this.#forwarded = 0;
    this.#slotsInUse = 0;
    this.#deviceAvail = 0;
    this.#deviceAvailWrap = 1;
    this.#deviceUsed = 0;
    this.#deviceUsedWrap = 1;
    this.#unkicked = 0;
    this.#uncalled = 0;
    this.fault = undefined;
    this.starved = false;
    this.outstanding = 0;
  }

  start({ usedPosition, usedWrap }: RingPosition): void {
    if (!(usedPosition >= 0 && usedPosition < this.#ring.size)) {
      throw new OperatorError(
        `a packed ring of ${this.#ring.size} entries can not start at ${usedPosition}`,
        {
          kind: "protocol",
        },
      );
    }
    this.#clear();
    this.#availPosition = usedPosition;
    this.#availWrap = usedWrap;
    this.#usedPosition = usedPosition;
    this.#usedWrap = usedWrap;
    this.limitFeed(this.#limited);
  }

  forward(): number {
    if (this.fault) return 0;
    const before = this.outstanding;
    this.#heldBack = -1;
    try {
      this.#feed();
    } catch (error) {
      this.#fail(error);
    }
    if (this.#heldBack < 0) return 0;
    // A release: the device can not pass the first head, so that it sees the whole batch or nothing.
    Atomics.store(this.#desc.u16, 8 * this.#heldBack + 7, this.#heldFlags);
    const moved = this.outstanding - before;
    this.counts.forwarded += moved;
    return moved;
  }

  #feed(): void {
    const { size } = this.#ring;
    this.starved = false;
    let left = size - this.#slotsInUse;
    if (this.#limited) {
      if (this.#atBoundary) return;
      // Up to where position 0 with wrap counter 1 follows; a chain may reach beyond.
      if (this.#availWrap === 0) left = Math.min(left, size - this.#availPosition);
    }
    const guest = this.#guest;
    let found = guest.scan(this.#availPosition, this.#availWrap, left);
    while (found > 0) {
      const taken = this.#take(found, size - this.#slotsInUse);
      if (taken === 0) {
        this.starved = true;
        return;
      }
      found -= taken;
      if (this.#limited && this.#isBoundary()) {
        this.#atBoundary = true;
        return;
      }
    }
  }

  #isBoundary(): boolean {
    return this.#availPosition === 0 && this.#availWrap === 1;
  }

  /**
   * Copies the chain at the available position into our ring.
   * @param found descriptors from there on that `scan` has read
   * @param room descriptors that our ring has left
   * @returns how many descriptors the chain takes, 0 when there is no room to remember it
   */
  #take(found: number, room: number): number {
    const { size } = this.#ring;
    const guest = this.#guest;
    const { u16, u32 } = guest.desc;
    const ours = this.#desc.u32;
    const reader = this.#reader;
    const id = this.#freeIds[this.#freeCount - 1]!;
    const head = this.#deviceAvail;
    let at = this.#availPosition;
    let wrap = this.#availWrap;
    let to = head;
    let toWrap = this.#deviceAvailWrap;
    let slots = 0;
    let headFlags = 0;
    let guestId = 0;
    reader.begin(id);
    this.#saved.begin(id);
    for (;;) {
      if (slots === room)
        throw new RingFault("guest", `a descriptor chain at ${this.#availPosition} does not end`);
      if (slots >= found) guest.fetch(at);
      const low = u32[4 * at]!;
      const high = u32[4 * at + 1]!;
      const length = u32[4 * at + 2]!;
      guestId = u16[8 * at + 6]!;
      const flags = guest.flags[at]! & KEPT_FLAGS;
      let fits: boolean;
      if (flags & DESC_INDIRECT) {
        if (slots > 0) throw new RingFault("guest", "an indirect descriptor inside a chain of a packed ring");
        fits = reader.table(low, high, length, flags, true);
      } else {
        fits = reader.buffer(low, high, length, flags);
      }
      if (!fits) {
        this.#record.finish(id, undefined);
        this.#saved.release(id);
        return 0;
      }
      this.#saved.add(id, low, high, length, flags);
      ours[4 * to] = low;
      ours[4 * to + 1] = high;
      ours[4 * to + 2] = length;
      const shown = flags | availFlags(toWrap);
      if (slots === 0) headFlags = shown;
      else ours[4 * to + 3] = (shown << 16) | id;
      slots++;
      if (++at === size) {
        at = 0;
        wrap ^= 1;
      }
      if (++to === size) {
        to = 0;
        toWrap ^= 1;
      }
      if (!(flags & DESC_NEXT)) break;
    }
    this.#desc.u16[8 * head + 6] = id;
    if (this.#heldBack < 0) {
      this.#heldBack = head;
      this.#heldFlags = headFlags;
    } else {
      this.#desc.u16[8 * head + 7] = headFlags;
    }
    // §2.8.6: the last descriptor of a chain has its buffer id.
    this.#guestIds[id] = guestId;
    this.#slots[id] = slots;
    this.#since[id] = this.#forwarded++;
    this.#freeCount--;
    this.#order[this.#orderEnd] = id;
    if (++this.#orderEnd === size) this.#orderEnd = 0;
    this.outstanding++;
    this.#slotsInUse += slots;
    this.#unkicked += slots;
    this.#availPosition = at;
    this.#availWrap = wrap;
    this.#deviceAvail = to;
    this.#deviceAvailWrap = toWrap;
    return slots;
  }

  kickWanted(): boolean {
    const moved = this.#unkicked;
    if (this.fault || moved === 0) return false;
    this.#unkicked = 0;
    fullFence();
    const { u16 } = this.#device;
    const flags = u16[1]! & 3;
    if (flags === EVENT_ENABLE) return true;
    if (flags === EVENT_DISABLE) return false;
    acquireFence();
    return packedEventDue(u16[0]!, this.#deviceAvail, this.#deviceAvailWrap, moved, this.#ring.size);
  }

  complete(): number {
    if (this.fault) return 0;
    const before = this.outstanding;
    this.#batchSlots = 0;
    try {
      this.#takeUsed();
    } catch (error) {
      this.#fail(error);
    }
    const moved = before - this.outstanding;
    if (moved === 0) return 0;
    this.counts.completed += moved;
    this.#uncalled += this.#batchSlots;
    try {
      this.#guest.publishUsed(this.#batchAt, this.#batchFlags, this.#batchSlots);
      this.#guest.logDescriptors(this.#batchAt, this.#batchSlots);
    } catch (error) {
      this.#fail(error);
    }
    return moved;
  }

  #takeUsed(): void {
    const { u16, u32 } = this.#desc;
    const { size, inOrder } = this.#ring;
    for (;;) {
      const at = this.#deviceUsed;
      const flags = u16[8 * at + 7]!;
      if (!isUsed(flags, this.#deviceUsedWrap)) return;
      acquireFence();
      const id = u16[8 * at + 6]!;
      const length = u32[4 * at + 2]!;
      if (id >= size || this.#since[id] === FREE) {
        throw new RingFault("device", `chain ${id} was used, which the device does not hold`);
      }
      // §2.8.9: with IN_ORDER a used descriptor may stand for a batch that ends with the chain it names.
      while (inOrder && this.#order[this.#orderFirst] !== id) {
        const skipped = this.#order[this.#orderFirst]!;
        const all = Math.min(this.#record.writable[skipped]!, 0xffff_ffff);
        this.#finish(skipped, all, all > 0 ? DESC_WRITE : 0);
      }
      this.#finish(id, length, flags & DESC_WRITE);
    }
  }

  /** Logs what the device may have written to a chain and writes its used descriptor. */
  #finish(id: number, length: number, write: number): void {
    const { size } = this.#ring;
    const record = this.#record;
    const logging = this.#logging;
    if (logging?.data && record.pages[id]! > 0) {
      logging.log.markPages(record.firstPage[id]!, record.pages[id]!);
    }
    if (record.more[id]! >= 0) record.finish(id, logging?.data ? this.#mark : undefined);
    let written = length;
    // §2.8.21: without WRITE the length means nothing.
    if (length > record.writable[id]!) {
      written = record.writable[id]!;
      if (write) this.counts.overlongUsed++;
    }
    const flags = usedFlags(this.#usedWrap) | write;
    const first = this.#batchSlots === 0;
    if (first) {
      this.#batchAt = this.#usedPosition;
      this.#batchFlags = flags;
    }
    this.#guest.writeUsed(this.#usedPosition, this.#guestIds[id]!, written, flags, first);
    const slots = this.#slots[id]!;
    this.#batchSlots += slots;
    this.#slotsInUse -= slots;
    this.outstanding--;
    this.#since[id] = FREE;
    this.#freeIds[this.#freeCount++] = id;
    this.#saved.release(id);
    if (++this.#orderFirst === size) this.#orderFirst = 0;
    this.#usedPosition += slots;
    if (this.#usedPosition >= size) {
      this.#usedPosition -= size;
      this.#usedWrap ^= 1;
    }
    this.#deviceUsed += slots;
    if (this.#deviceUsed >= size) {
      this.#deviceUsed -= size;
      this.#deviceUsedWrap ^= 1;
    }
  }

  readonly #mark = (page: number, pages: number): void => this.#logging!.log.markPages(page, pages);

  callWanted(): boolean {
    const moved = this.#uncalled;
    if (moved === 0) return false;
    this.#uncalled = 0;
    fullFence();
    try {
      const flags = this.#guest.callFlags();
      if (flags === EVENT_ENABLE) return true;
      if (flags === EVENT_DISABLE) return false;
      return packedEventDue(
        this.#guest.callEvent(),
        this.#usedPosition,
        this.#usedWrap,
        moved,
        this.#ring.size,
      );
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  setGuestKicks(on: boolean): boolean {
    if (this.fault) return false;
    try {
      this.#guest.writeKickWish(on, this.#availPosition, this.#availWrap);
      if (!on) return false;
      fullFence();
      return !this.#atBoundary && this.#guest.isAvail(this.#availPosition, this.#availWrap);
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  setDeviceCalls(on: boolean): boolean {
    const { u16 } = this.#driver;
    if (on && this.#ring.eventIdx) {
      u16[0] = this.#deviceUsed | (this.#deviceUsedWrap << 15);
      Atomics.store(u16, 1, EVENT_DESC);
    } else {
      u16[1] = on ? EVENT_ENABLE : EVENT_DISABLE;
    }
    if (!on) return false;
    fullFence();
    return isUsed(this.#desc.u16[8 * this.#deviceUsed + 7]!, this.#deviceUsedWrap);
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.#logging = logging;
    this.#guest.logging = logging;
  }

  limitFeed(on: boolean): void {
    this.#limited = on;
    this.#atBoundary = on && this.#isBoundary();
  }

  get drainedAtBoundary(): boolean {
    return this.#atBoundary && this.outstanding === 0;
  }

  base(): RingPosition {
    const [position, wrap] = [this.#usedPosition, this.#usedWrap];
    return { availPosition: position, availWrap: wrap, usedPosition: position, usedWrap: wrap };
  }

  closeHoles(): RingPosition {
    try {
      this.#rewriteOutstanding();
    } catch (error) {
      this.#fail(error);
    }
    return this.base();
  }

  /** The chains take as many descriptors as lie between the used and the available position, whatever their order. */
  #rewriteOutstanding(): void {
    let at = this.#usedPosition;
    let wrap = this.#usedWrap;
    for (const id of outstandingInOrder(this.#since)) {
      const { words } = this.#saved;
      for (let saved = this.#saved.first(id); saved >= 0; saved = this.#saved.next(saved)) {
        const flags = (words[4 * saved + 3]! >>> 16) | availFlags(wrap);
        this.#guest.rewrite(at, words, 4 * saved, ((flags << 16) | this.#guestIds[id]!) >>> 0);
        if (++at === this.#ring.size) {
          at = 0;
          wrap ^= 1;
        }
      }
      if (!this.#logging?.data) continue;
      if (this.#record.pages[id]! > 0) this.#mark(this.#record.firstPage[id]!, this.#record.pages[id]!);
      this.#record.finish(id, this.#mark);
    }
  }

  rebind(): void {
    this.#view.refresh();
    try {
      this.#guest = faultOf(() => new PackedGuestRing(this.#memory, this.#ring));
      this.#guest.logging = this.#logging;
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
