import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import { acquireFence, fullFence, fullFenceAfterStore } from "./fences.ts";
import type { GuestRing, RelayLogging } from "./relay.ts";
import { RingArea } from "./ring-area.ts";
import { availFlags, countMarked, EVENT_DESC, EVENT_DISABLE, EVENT_ENABLE, isAvail } from "./ring-format.ts";

/** Descriptors that are copied at a time where they have to be copied. */
const CHUNK = 64;

/**
 * The guest's packed ring (virtio 1.3 §2.8) as the device side sees it. What is written is logged by its own guest
 * address, whatever log_guest_addr says: front-ends disagree on what that stands for.
 */
export class PackedGuestRing {
  readonly desc: RingArea;
  readonly driver: RingArea;
  readonly device: RingArea;
  logging: RelayLogging | undefined;
  readonly #ring: GuestRing;
  /** The guest address of the descriptor ring: its page, and where in it. */
  readonly #descPage: number;
  readonly #descOffset: number;
  readonly #deviceGpa: number;

  constructor(memory: GuestMap, ring: GuestRing) {
    this.#ring = ring;
    this.desc = RingArea.locate(memory, ring.descGpa, 16 * ring.size, 16, "descriptor ring");
    this.driver = RingArea.locate(memory, ring.driverGpa, 4, 4, "driver area");
    this.device = RingArea.locate(memory, ring.deviceGpa, 4, 4, "device area");
    this.#descPage = Number(ring.descGpa >> 12n);
    this.#descOffset = Number(ring.descGpa & 0xfffn);
    this.#deviceGpa = Number(ring.deviceGpa);
  }

  /** Whether the descriptor at a position is available. */
  isAvail(position: number, wrap: number): boolean {
    this.desc.pull(16 * position + 14, 2);
    return isAvail(this.desc.u16[8 * position + 7]!, wrap);
  }

  /**
   * How many descriptors from `position` on are available, at most `limit`. Their contents are read afterwards, as they
   * were written before the flags; the flags then once more for what else they say.
   */
  scan(position: number, wrap: number, limit: number): number {
    const { size } = this.#ring;
    const up = Math.min(limit, size - position);
    let found = this.#scanLap(position, wrap, up);
    if (found === up && up < limit) found += this.#scanLap(0, wrap ^ 1, limit - up);
    acquireFence();
    if (this.desc.copied && found > 0) {
      const first = Math.min(found, size - position);
      this.desc.pull(16 * position, 16 * first);
      if (first < found) this.desc.pull(0, 16 * (found - first));
    }
    return found;
  }

  /** The same within one lap. */
  #scanLap(position: number, wrap: number, limit: number): number {
    const { desc } = this;
    if (!desc.copied) return countMarked(desc.u16, position, limit, availFlags(wrap));
    let found = 0;
    while (found < limit) {
      const chunk = Math.min(CHUNK, limit - found);
      desc.pull(16 * (position + found), 16 * chunk);
      const marked = countMarked(desc.u16, position + found, chunk, availFlags(wrap));
      found += marked;
      if (marked < chunk) break;
    }
    return found;
  }

  /** Reads a descriptor that `scan` did not come to, as it belongs to a chain that it did. */
  fetch(position: number): void {
    this.desc.pull(16 * position, 16);
  }

  /**
   * Shows the guest a batch of `slots` descriptors whose first element is at `position`, then logs them. Has a full
   * fence behind what is shown.
   */
  publishUsed(position: number, flags: number, slots: number): void {
    const { desc } = this;
    const at = 8 * position + 7;
    if (!desc.copied) {
      // A release: all else first.
      Atomics.store(desc.u16, at, flags);
      fullFenceAfterStore();
      this.#logPublished(position, slots);
      return;
    }
    // What lies between the elements is as it was pulled: the driver leaves it alone until it sees the first one.
    const end = Math.min(position + slots, this.#ring.size);
    if (end > position + 1) desc.push(16 * (position + 1), 16 * (end - position - 1));
    if (position + slots > this.#ring.size) desc.push(0, 16 * (position + slots - this.#ring.size));
    // USED is in the last byte, which alone decides (AVAIL stays as it was), so that no torn copy can mislead.
    desc.u8[2 * at] = flags & 0xff;
    desc.push(16 * position + 8, 7);
    desc.u8[2 * at + 1] = flags >>> 8;
    desc.push(16 * position + 15, 1);
    fullFence();
    this.#logPublished(position, slots);
  }

  /** Only after a full fence, so that a look at the log can not overtake what was written. */
  #logPublished(position: number, count: number): void {
    const log = this.logging?.log;
    if (!log) return;
    const first = Math.min(count, this.#ring.size - position);
    this.#logDescriptors(log, position, first);
    if (first < count) this.#logDescriptors(log, 0, count - first);
  }

  #logDescriptors(log: DirtyLog, position: number, count: number): void {
    const first = this.#descOffset + 16 * position;
    const page = first >> 12;
    log.markPages(this.#descPage + page, ((first + 16 * count - 1) >> 12) - page + 1);
  }

  /** The guest's wish for interrupts: its flags, and where it wants one if they say so. */
  callFlags(): number {
    this.driver.pull(0, 4);
    const flags = this.driver.u16[1]! & 3;
    acquireFence();
    return flags;
  }

  callEvent(): number {
    this.driver.pull(0, 4);
    return this.driver.u16[0]!;
  }

  /** Asks for kicks from a position on, or for none. */
  writeKickWish(on: boolean, position: number, wrap: number): void {
    const { device } = this;
    let flags = on ? EVENT_ENABLE : EVENT_DISABLE;
    if (on && this.#ring.eventIdx) {
      device.u16[0] = position | (wrap << 15);
      device.push(0, 2);
      flags = EVENT_DESC;
    }
    if (device.copied) {
      device.u16[1] = flags;
      device.push(2, 2);
    } else {
      Atomics.store(device.u16, 1, flags);
    }
    this.logging?.log.markOwnWrite(this.#deviceGpa, 4);
  }

  /** Replaces a descriptor by an available one, while nobody processes the ring. */
  rewrite(position: number, words: Int32Array, from: number, last: number): void {
    const { desc } = this;
    const at = 4 * position;
    desc.pull(4 * at, 16);
    const { i32 } = desc;
    const same =
      i32[at] === words[from] &&
      i32[at + 1] === words[from + 1] &&
      i32[at + 2] === words[from + 2] &&
      i32[at + 3] === last;
    if (same) return;
    i32[at] = words[from]!;
    i32[at + 1] = words[from + 1]!;
    i32[at + 2] = words[from + 2]!;
    i32[at + 3] = last;
    desc.push(4 * at, 16);
    this.logging?.log.markOwnWrite(4096 * this.#descPage + this.#descOffset + 16 * position, 16);
  }
}
