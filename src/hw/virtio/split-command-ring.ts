import {
  acquireFence,
  type CommandRing,
  type Outcome,
  type RingMemory,
  type Segment,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from "./command-ring.ts";

const VRING_AVAIL_F_NO_INTERRUPT = 1;

/** A split virtqueue (virtio 1.3 §2.7) whose chains all begin at descriptor 0. */
export class SplitCommandRing implements CommandRing {
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #avail: number;
  readonly #used: number;
  readonly #entries: number;
  readonly #eventIdx: boolean;
  #availIdx = 0;
  #usedIdx = 0;

  /** @param ring zeroed memory of the ring, of which positions 0 are the first */
  constructor({ buffer, layout, entries }: RingMemory, eventIdx: boolean) {
    const window = buffer.memory.window(0);
    this.#u16 = window.u16;
    this.#u32 = window.u32;
    this.#avail = layout.driver;
    this.#used = layout.device;
    this.#entries = entries;
    this.#eventIdx = eventIdx;
    // With EVENT_IDX the flag must stay 0 (§2.7.7.1) and used_event does the work instead.
    this.#u16[this.#avail >> 1] = eventIdx ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
  }

  submit(chain: readonly Segment[]): void {
    for (const [i, { iova, length, deviceWrites }] of chain.entries()) {
      const last = i === chain.length - 1;
      this.#u32[i * 4] = Number(iova & 0xffffffffn);
      this.#u32[i * 4 + 1] = Number(iova >> 32n);
      this.#u32[i * 4 + 2] = length;
      this.#u16[i * 8 + 6] = (last ? 0 : VRING_DESC_F_NEXT) | (deviceWrites ? VRING_DESC_F_WRITE : 0);
      this.#u16[i * 8 + 7] = last ? 0 : i + 1;
    }
    const ring = (this.#avail >> 1) + 2;
    this.#u16[ring + (this.#availIdx % this.#entries)] = 0;
    // An event index that has already passed asks for no interrupt.
    if (this.#eventIdx) this.#u16[ring + this.#entries] = this.#usedIdx - 1;
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    // Release: the device must see the descriptors before the index (§2.7.13.3.1).
    Atomics.store(this.#u16, (this.#avail >> 1) + 1, this.#availIdx);
  }

  poll(): Outcome {
    const idx = this.#u16[(this.#used >> 1) + 1]!;
    acquireFence();
    if (idx === this.#usedIdx) return "pending";
    const expected = (this.#usedIdx + 1) & 0xffff;
    if (idx !== expected) return { fault: `the used index went from ${this.#usedIdx} to ${idx}` };
    const id = this.#u32[(this.#used >> 2) + 1 + 2 * (this.#usedIdx % this.#entries)]!;
    this.#usedIdx = expected;
    return id === 0 ? "done" : { fault: `it used descriptor ${id}, which was not given to it` };
  }
}
