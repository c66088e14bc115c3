import { LocalMemory } from "./local-memory.ts";

/** The longest chain that a port takes: header, the longest IPv4 packet, Ethernet header and VLAN tag. */
export const MAX_FRAME = 12 + 65535 + 18;
const CAPACITY = 4 * 65568;

/** Frames that wait for a receive buffer, each in one piece and 4-aligned: a bounded queue without allocation. */
export class FrameQueue {
  readonly memory = new LocalMemory(CAPACITY);
  readonly #offsets: Int32Array;
  readonly #lengths: Int32Array;
  #first = 0;
  #count = 0;
  /** First byte after the newest frame. */
  #end = 0;

  constructor(readonly maxFrames: number) {
    this.#offsets = new Int32Array(maxFrames);
    this.#lengths = new Int32Array(maxFrames);
  }

  get count(): number {
    return this.#count;
  }

  /** Offset and length of the oldest frame; there must be one. */
  get offset(): number {
    return this.#offsets[this.#first]!;
  }

  get length(): number {
    return this.#lengths[this.#first]!;
  }

  /** Where a frame of `length` (up to MAX_FRAME) bytes may be placed, -1 when the queue is full. */
  room(length: number): number {
    if (this.#count === this.maxFrames) return -1;
    if (this.#count === 0) return 0;
    const oldest = this.offset;
    const start = (this.#end + 3) & ~3;
    if (start > oldest) {
      if (start + length <= CAPACITY) return start;
      return length < oldest ? 0 : -1;
    }
    return start + length < oldest ? start : -1;
  }

  /** Adds the frame that was placed where `room` said. */
  push(offset: number, length: number): void {
    const slot = (this.#first + this.#count) % this.maxFrames;
    this.#offsets[slot] = offset;
    this.#lengths[slot] = length;
    this.#count++;
    this.#end = offset + length;
  }

  shift(): void {
    this.#first = (this.#first + 1) % this.maxFrames;
    this.#count--;
  }

  clear(): void {
    this.#count = 0;
  }
}
