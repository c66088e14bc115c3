import { OperatorError } from "../hw/operator-error.ts";
import { FREE, MORE, NONE_MORE, PAGE, PAGES, WRITABLE } from "./chain-record.ts";
import { acquireFence, fullFence } from "./fences.ts";
import { PackedFeed } from "./packed-feed.ts";
import type { RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { RingFault } from "./ring-fault.ts";
import {
  availFlags,
  DESC_WRITE,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_ENABLE,
  isUsed,
  packedEventDue,
  usedFlags,
} from "./ring-format.ts";

const NO_BITS = new Uint8Array(0);

/**
 * A packed ring that the device sees as a ring of ours: descriptors are rewritten into it with our position, wrap
 * counter and buffer ids; completions are written back with the guest's, in the device's order. Indirect tables are
 * the guest's own.
 */
export class PackedRelay extends PackedFeed implements RingRelay {
  /** Descriptors since a call was last considered. */
  #uncalled = 0;
  /** The used element of the running batch that is shown last. */
  #batchAt = 0;
  #batchFlags = 0;
  #batchSlots = 0;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a packed ring */
  constructor(options: RelayOptions) {
    super(options);
    this.clear();
  }

  protected override clear(): void {
    super.clear();
    this.#uncalled = 0;
  }

  start({ usedPosition, usedWrap }: RingPosition): void {
    if (!(usedPosition >= 0 && usedPosition < this.ring.size)) {
      throw new OperatorError(`a packed ring of ${this.ring.size} entries can not start at ${usedPosition}`, {
        kind: "protocol",
      });
    }
    this.clear();
    this.availPosition = usedPosition;
    this.availWrap = usedWrap;
    this.usedPosition = usedPosition;
    this.usedWrap = usedWrap;
    this.limitFeed(this.limited);
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
      this.guest.logDescriptors(this.#batchAt, this.#batchSlots);
    } catch (error) {
      this.fail(error);
    }
    return moved;
  }

  /**
   * Takes used descriptors: logs what the device may have written and writes the guest's. With IN_ORDER one may stand
   * for a batch that ends with the chain it names (§2.8.9); the chains before that get descriptors of their own, with
   * all that can be written.
   */
  #takeUsed(): void {
    const { u16, i32 } = this.desc;
    const { u16: guest16, i32: guest32 } = this.guest.desc;
    const { size, inOrder } = this.ring;
    const { words } = this.record;
    const log = this.logging?.data ? this.logging.log : undefined;
    const bits = log?.bits ?? NO_BITS;
    const order = this.order;
    const slotsOf = this.slots;
    let position = this.usedPosition;
    let wrap = this.usedWrap;
    let devicePosition = this.deviceUsed;
    let deviceWrap = this.deviceUsedWrap;
    let orderFirst = this.orderFirst;
    let freeCount = this.freeCount;
    let taken = 0;
    let slotsTaken = 0;
    /** The chain that the used descriptor names, and what it says; -1 when the next descriptor is due. */
    let named = -1;
    let namedLength = 0;
    let namedWrite = 0;
    try {
      for (;;) {
        if (named < 0) {
          const flags = u16[8 * devicePosition + 7]!;
          if (!isUsed(flags, deviceWrap)) return;
          acquireFence();
          const id = u16[8 * devicePosition + 6]!;
          namedLength = i32[4 * devicePosition + 2]!;
          namedWrite = flags & DESC_WRITE;
          if (id >= size || words[4 * id + MORE] === FREE) {
            throw new RingFault("device", `chain ${id} was used, which the device does not hold`);
          }
          named = id;
        }
        let id = named;
        let length = namedLength;
        let write = namedWrite;
        if (inOrder && order[orderFirst] !== named) {
          id = order[orderFirst]!;
          length = words[4 * id + WRITABLE]!;
          write = length === 0 ? 0 : DESC_WRITE;
        } else {
          named = -1;
        }
        const at = 4 * id;
        const pages = words[at + PAGES]!;
        if (pages > 0 && log) {
          const page = words[at + PAGE]!;
          const byte = page >>> 3;
          if (pages === 1 && byte < bits.length) {
            const bit = 1 << (page & 7);
            if ((bits[byte]! & bit) === 0) Atomics.or(bits, byte, bit);
          } else {
            log.markPages(page, pages);
          }
        }
        if (words[at + MORE] !== NONE_MORE) this.record.finishMore(id, this.mark);
        const writable = words[at + WRITABLE]!;
        // Both are unsigned; a negative one has 2 GiB or more.
        if ((length | writable) < 0 ? length >>> 0 > writable >>> 0 : length > writable) {
          length = writable;
          // §2.8.21: without WRITE the length means nothing.
          if (write) this.counts.overlongUsed++;
        }
        words[at + MORE] = FREE;
        const flags = usedFlags(wrap) | write;
        guest32[4 * position + 2] = length;
        guest16[8 * position + 6] = this.guestIds[id]!;
        if (taken === 0) {
          this.#batchAt = position;
          this.#batchFlags = flags;
        } else {
          guest16[8 * position + 7] = flags;
        }
        taken++;
        const slots = slotsOf[id]!;
        slotsTaken += slots;
        if (slots > 1) this.saved.release(id);
        this.freeIds[freeCount++] = id;
        if (++orderFirst === size) orderFirst = 0;
        position += slots;
        if (position >= size) {
          position -= size;
          wrap ^= 1;
        }
        devicePosition += slots;
        if (devicePosition >= size) {
          devicePosition -= size;
          deviceWrap ^= 1;
        }
      }
    } finally {
      this.usedPosition = position;
      this.usedWrap = wrap;
      this.deviceUsed = devicePosition;
      this.deviceUsedWrap = deviceWrap;
      this.orderFirst = orderFirst;
      this.freeCount = freeCount;
      this.#batchSlots = slotsTaken;
      this.slotsInUse -= slotsTaken;
      this.outstanding -= taken;
    }
  }

  callWanted(): boolean {
    const moved = this.#uncalled;
    if (moved === 0) return false;
    this.#uncalled = 0;
    fullFence();
    try {
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
    if (on && this.ring.eventIdx) {
      u16[0] = this.deviceUsed | (this.deviceUsedWrap << 15);
      Atomics.store(u16, 1, EVENT_DESC);
    } else {
      u16[1] = on ? EVENT_ENABLE : EVENT_DISABLE;
    }
    if (!on) return false;
    fullFence();
    return isUsed(this.desc.u16[8 * this.deviceUsed + 7]!, this.deviceUsedWrap);
  }

  closeHoles(): RingPosition {
    try {
      this.#rewriteOutstanding();
    } catch (error) {
      this.fail(error);
    }
    return this.base();
  }

  /** The chains take as many descriptors as lie between the used and the available position, whatever their order. */
  #rewriteOutstanding(): void {
    let at = this.usedPosition;
    let wrap = this.usedWrap;
    for (const id of this.heldInOrder()) {
      const { words } = this.saved;
      for (let saved = id; saved >= 0; saved = this.saved.next(saved)) {
        const flags = (words[4 * saved + 3]! >>> 16) | availFlags(wrap);
        this.guest.rewrite(at, words, 4 * saved, ((flags << 16) | this.guestIds[id]!) >>> 0);
        if (++at === this.ring.size) {
          at = 0;
          wrap ^= 1;
        }
      }
      this.record.finish(id, this.mark);
    }
  }
}
