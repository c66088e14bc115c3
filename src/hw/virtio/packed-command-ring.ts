import {
  acquireFence,
  type CommandRing,
  type Outcome,
  type RingMemory,
  type Segment,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from "./command-ring.ts";

const AVAIL = 1 << 7;
const USED = 1 << 15;
const VRING_PACKED_EVENT_FLAG_DISABLE = 1;
/** The identifier of every chain: one is under way at a time. */
const BUFFER_ID = 0;

/** A packed virtqueue (virtio 1.3 §2.8). */
export class PackedCommandRing implements CommandRing {
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #entries: number;
  #position = 0;
  #wrap = true;
  #length = 0;

  /** @param ring zeroed memory of the ring; the first lap has wrap counter 1 */
  constructor({ buffer, layout, entries }: RingMemory) {
    const window = buffer.memory.window(0);
    this.#u16 = window.u16;
    this.#u32 = window.u32;
    this.#entries = entries;
    this.#u16[(layout.driver >> 1) + 1] = VRING_PACKED_EVENT_FLAG_DISABLE;
  }

  submit(chain: readonly Segment[]): void {
    const flagsOfFirst = this.#write(chain[0]!, 0, chain.length);
    for (let i = 1; i < chain.length; i++) {
      const { at } = this.#slot(i);
      this.#u16[at * 8 + 7] = this.#write(chain[i]!, i, chain.length);
    }
    this.#length = chain.length;
    // Release: the flags of the first descriptor make the whole chain available (§2.8.21.1).
    Atomics.store(this.#u16, this.#position * 8 + 7, flagsOfFirst);
  }

  poll(): Outcome {
    const head = this.#position;
    const flags = this.#u16[head * 8 + 7]!;
    acquireFence();
    const used = (flags & USED) !== 0;
    if (used !== this.#wrap || ((flags & AVAIL) !== 0) !== this.#wrap) return "pending";
    const id = this.#u16[head * 8 + 6]!;
    const next = this.#slot(this.#length);
    this.#position = next.at;
    this.#wrap = next.wrap;
    return id === BUFFER_ID ? "done" : { fault: `it used buffer ${id}, which was not given to it` };
  }

  /** Writes a descriptor without its flags, which are returned. */
  #write({ iova, length, deviceWrites }: Segment, i: number, count: number): number {
    const { at, wrap } = this.#slot(i);
    this.#u32[at * 4] = Number(iova & 0xffffffffn);
    this.#u32[at * 4 + 1] = Number(iova >> 32n);
    this.#u32[at * 4 + 2] = length;
    this.#u16[at * 8 + 6] = BUFFER_ID;
    const next = i < count - 1 ? VRING_DESC_F_NEXT : 0;
    return next | (deviceWrites ? VRING_DESC_F_WRITE : 0) | (wrap ? AVAIL : USED);
  }

  /** The descriptor `steps` ahead of the position, and the wrap counter it is written with. */
  #slot(steps: number): { at: number; wrap: boolean } {
    const at = this.#position + steps;
    return at < this.#entries ? { at, wrap: this.#wrap } : { at: at - this.#entries, wrap: !this.#wrap };
  }
}
