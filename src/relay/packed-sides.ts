import { OperatorError } from "../hw/operator-error.ts";
import { type DevicePart, packedDeviceMemory } from "./device-memory.ts";
import { PackedGuestRing } from "./packed-guest-ring.ts";
import type { RelayLogging, RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { RelayBase } from "./relay-base.ts";
import { faultOf } from "./ring-fault.ts";
import { SavedChains } from "./saved-chains.ts";

/** Beyond all positions with their wrap counters. */
const ALL_EVENTS = 2 ** 16;
const NO_EVENTS = 2 ** 17;

/** Where both sides of a packed relay stand, and the chains in between. */
export abstract class PackedSides extends RelayBase {
  readonly deviceQueue: RingRelay["deviceQueue"];
  protected readonly desc: DevicePart;
  /** Event suppression areas: what we want of the device, what the device wants of us. */
  protected readonly driver: DevicePart;
  protected readonly device: DevicePart;
  protected readonly saved: SavedChains;
  /** By buffer id of ours: ring descriptors taken by a chain that is not plain. */
  protected readonly slots: Uint16Array;
  protected readonly freeIds: Uint16Array;
  protected freeCount = 0;
  /** With IN_ORDER, chains in the order they were forwarded: what the device holds. */
  protected readonly order: Uint16Array;
  protected orderFirst = 0;
  protected orderEnd = 0;
  protected guest: PackedGuestRing;
  protected slotsInUse = 0;
  protected availPosition = 0;
  protected availWrap = 1;
  protected usedPosition = 0;
  protected usedWrap = 1;
  protected deviceAvail = 0;
  protected deviceAvailWrap = 1;
  protected deviceUsed = 0;
  protected deviceUsedWrap = 1;
  /** What the guest's device area asks the guest for, -1 while that is not known. */
  protected kickWish = -1;

  /** @throws OperatorError when the ring is not in guest memory or its size is none of a packed ring */
  protected constructor(options: RelayOptions) {
    const { ring, memory, buffer, offset } = options;
    const { size } = ring;
    if (!Number.isInteger(size) || size < 1 || size > 32768) {
      throw new OperatorError(`a packed ring of ${size} entries`, {
        why: "it must have 1 to 32768",
        kind: "protocol",
      });
    }
    super(options);
    ({
      desc: this.desc,
      driver: this.driver,
      device: this.device,
    } = packedDeviceMemory(buffer, offset, size));
    this.deviceQueue = { desc: this.desc.iova, driver: this.driver.iova, device: this.device.iova };
    this.saved = new SavedChains(size);
    this.slots = new Uint16Array(size);
    this.freeIds = new Uint16Array(size);
    this.order = new Uint16Array(size);
    this.guest = new PackedGuestRing(memory, ring);
  }

  protected clear(): void {
    const { size } = this.ring;
    this.desc.u32.fill(0);
    this.driver.u32.fill(0);
    this.device.u32.fill(0);
    this.reset();
    this.saved.clear();
    for (let i = 0; i < size; i++) this.freeIds[i] = size - 1 - i;
    this.freeCount = size;
    this.orderFirst = 0;
    this.orderEnd = 0;
    this.slotsInUse = 0;
    this.kickWish = -1;
    this.deviceAvail = 0;
    this.deviceAvailWrap = 1;
    this.deviceUsed = 0;
    this.deviceUsedWrap = 1;
  }

  /** A number for what an event suppression area is to ask for: no events, all, or one at a position. */
  protected wishFor(on: boolean, position: number, wrap: number): number {
    if (!on) return NO_EVENTS;
    return this.ring.eventIdx ? position | (wrap << 15) : ALL_EVENTS;
  }

  /** With IN_ORDER: the device was given another chain. */
  protected inOrderNext(id: number): void {
    this.order[this.orderEnd] = id;
    if (++this.orderEnd === this.ring.size) this.orderEnd = 0;
  }

  protected isBoundary(): boolean {
    return this.availPosition === 0 && this.availWrap === 1;
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.logging = logging;
    // Asks for kicks anew, so that a log has the page of the wish whatever came before it.
    this.kickWish = -1;
    this.guest.logging = logging;
  }

  limitFeed(on: boolean): void {
    this.limited = on;
    this.atBoundary = on && this.isBoundary();
  }

  base(): RingPosition {
    const [position, wrap] = [this.usedPosition, this.usedWrap];
    return { availPosition: position, availWrap: wrap, usedPosition: position, usedWrap: wrap };
  }

  rebind(): void {
    this.view.refresh();
    try {
      this.guest = faultOf(() => new PackedGuestRing(this.memory, this.ring));
      this.guest.logging = this.logging;
      this.kickWish = -1;
    } catch (error) {
      this.fail(error);
    }
  }
}
