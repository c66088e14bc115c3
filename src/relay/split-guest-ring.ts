import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import { acquireFence, fullFence, fullFenceAfterStore } from "./fences.ts";
import type { GuestRing, RelayLogging } from "./relay.ts";
import { RingArea } from "./ring-area.ts";

/** From this ring size on the descriptor table is not copied whole where it has to be copied. */
const WHOLE_TABLE = 1024;
const RETRIES = 8;

/**
 * The guest's split ring (virtio 1.3 §2.7) as the device side sees it. Every write is logged where the ring's log
 * flag asks for it.
 */
export class SplitGuestRing {
  readonly desc: RingArea;
  readonly avail: RingArea;
  readonly used: RingArea;
  #log: DirtyLog | undefined;
  /** The guest address that stands for the used ring's first byte, while that is logged, or -1: its page, and where in it. */
  #usedPage = -1;
  #usedOffset = 0;
  readonly #availGpa: number;
  readonly #ring: GuestRing;
  readonly #mask: number;

  constructor(memory: GuestMap, ring: GuestRing) {
    const { size, eventIdx } = ring;
    const event = eventIdx ? 2 : 0;
    this.#ring = ring;
    this.#mask = size - 1;
    this.#availGpa = Number(ring.driverGpa);
    this.desc = RingArea.locate(memory, ring.descGpa, 16 * size, 16, "descriptor table");
    this.avail = RingArea.locate(memory, ring.driverGpa, 4 + 2 * size + event, 2, "available ring");
    this.used = RingArea.locate(memory, ring.deviceGpa, 4 + 8 * size + event, 4, "used ring");
  }

  /** Logs writes of the used ring from now on where its log flag asks for that, and of the available ring always. */
  setLogging(logging: RelayLogging | undefined): void {
    const gpa = logging?.usedRingGpa;
    this.#log = logging?.log;
    this.#usedPage = gpa === undefined ? -1 : Number(gpa >> 12n);
    this.#usedOffset = Number((gpa ?? 0n) & 0xfffn);
  }

  /** The available index; later reads of the ring see what it stands for. */
  availIndex(seen: number): number {
    const { avail } = this;
    if (!avail.copied) {
      const index = avail.u16[1]!;
      acquireFence();
      return index;
    }
    // The kernel may copy the two bytes one by one: where the upper one has changed, only a second look is certain.
    let before = seen;
    for (let i = 0; i < RETRIES; i++) {
      avail.pull(2, 2);
      const index = avail.u16[1]!;
      if (index >>> 8 === before >>> 8 && ((index - seen) & 0xffff) <= this.#ring.size) return index;
      before = index;
    }
    return before;
  }

  /** Makes the used index what the relay goes on from. */
  syncUsedIndex(index: number): void {
    const { used } = this;
    used.pull(0, 4);
    const before = used.u16[1]!;
    if (before === index) return;
    this.#publishIndex(index, (index - before) & 0xffff);
    this.#logUsed(2, 2);
  }

  /** Makes `count` heads from index `from` on readable in `avail`. */
  pullHeads(from: number, count: number): void {
    if (!this.avail.copied || count === 0) return;
    const slot = from & this.#mask;
    const first = Math.min(count, this.#ring.size - slot);
    this.avail.pull(4 + 2 * slot, 2 * first);
    if (first < count) this.avail.pull(4, 2 * (count - first));
    if (this.#ring.size <= WHOLE_TABLE) this.desc.pull(0, 16 * this.#ring.size);
  }

  /** Makes one descriptor readable where `pullHeads` did not do so for all. */
  pullDescriptor(at: number): void {
    if (this.desc.copied && this.#ring.size > WHOLE_TABLE) this.desc.pull(16 * at, 16);
  }

  /** Shows the guest the used elements from index `from` to before `to`, then logs what was written. */
  publish(from: number, to: number): void {
    const { used } = this;
    const slot = from & this.#mask;
    const count = (to - from) & 0xffff;
    const first = Math.min(count, this.#ring.size - slot);
    if (used.copied) {
      used.push(4 + 8 * slot, 8 * first);
      if (first < count) used.push(4, 8 * (count - first));
    }
    this.#publishIndex(to, count);
    if (first < count) {
      this.#logUsed(4 + 8 * slot, 8 * first);
      this.#logUsed(2, 2 + 8 * (count - first));
    } else {
      this.#logUsed(2, 2);
      this.#logUsed(4 + 8 * slot, 8 * count);
    }
  }

  /** Logs bytes of the used ring. Only after a full fence, so that a look at the log can not overtake what was written. */
  #logUsed(offset: number, length: number): void {
    const log = this.#log;
    if (!log || this.#usedPage < 0) return;
    const first = this.#usedOffset + offset;
    const page = first >> 12;
    log.markPages(this.#usedPage + page, ((first + length - 1) >> 12) - page + 1);
  }

  /** The guest's avail flags, or the used index that it wants an interrupt for. */
  callWish(): number {
    const at = this.#ring.eventIdx ? 2 + this.#ring.size : 0;
    this.avail.pull(2 * at, 2);
    return this.avail.u16[at]!;
  }

  writeUsedFlags(flags: number): void {
    this.#writeUsed(0, flags);
  }

  writeAvailEvent(index: number): void {
    this.#writeUsed(2 + 4 * this.#ring.size, index);
  }

  /** Puts a head into a slot of the available ring, which is the driver's: only while nobody processes the ring. */
  rewriteHead(index: number, head: number): void {
    const at = 2 + (index & this.#mask);
    this.avail.pull(2 * at, 2);
    if (this.avail.u16[at] === head) return;
    this.avail.u16[at] = head;
    this.avail.push(2 * at, 2);
    this.#log?.markOwnWrite(this.#availGpa + 2 * at, 2);
  }

  /** Ends in a full fence, after which a look at the log or at the guest's wish can not overtake what was written. */
  #publishIndex(index: number, moved: number): void {
    const { used } = this;
    if (used.copied) {
      used.addHigh(0, moved);
      used.u16[1] = index;
      fullFence();
    } else {
      // A release: elements first.
      Atomics.store(used.u16, 1, index);
      fullFenceAfterStore();
    }
  }

  #writeUsed(at: number, value: number): void {
    this.used.u16[at] = value;
    this.used.push(2 * at, 2);
    if (this.#log && this.#usedPage >= 0) {
      this.#log.markOwnWrite(4096 * this.#usedPage + this.#usedOffset + 2 * at, 2);
    }
  }
}
