import type { DriverRing, Piece, RingMemory, RingOptions } from "./driver-ring.ts";
import { PackedDriver } from "./packed-driver.ts";
import { SplitDriver } from "./split-driver.ts";

export const HEADER = 12;
const RING_SPACE = 96 * 1024;
const BUFFER = 2048;

export interface PairOptions extends RingOptions {
  readonly packed?: boolean;
  /** Entries of each ring, up to 256. */
  readonly size?: number;
  /** Descriptors that each buffer is cut into. */
  readonly pieces?: number;
}

export interface ReceivedFrame {
  readonly frame: Uint8Array;
  readonly numBuffers: number;
}

/** A network queue pair, driver side: sends and receives whole frames of up to 2036 bytes. */
export class NetPair {
  /** Bytes of memory that a pair needs. */
  static readonly BYTES = 2 * (RING_SPACE + 256 * BUFFER);
  readonly rx: DriverRing;
  readonly tx: DriverRing;
  readonly #memory: RingMemory;
  readonly #pieces: number;
  readonly #rxData: number;
  readonly #txData: number;
  readonly #rxSlots = new Map<number, number>();
  readonly #txSlots = new Map<number, number>();
  readonly #rxFree: number[];
  readonly #txFree: number[];

  constructor(memory: RingMemory, offset: number, options: PairOptions = {}) {
    const { packed = false, size = 64, pieces = 1 } = options;
    const Ring = packed ? PackedDriver : SplitDriver;
    this.#memory = memory;
    this.#pieces = pieces;
    this.rx = new Ring(memory, offset, size, options);
    this.tx = new Ring(memory, offset + RING_SPACE, size, options);
    this.#rxData = offset + 2 * RING_SPACE;
    this.#txData = this.#rxData + 256 * BUFFER;
    this.#rxFree = Array.from({ length: size }, (_, i) => i);
    this.#txFree = Array.from({ length: size }, (_, i) => i);
  }

  /** Adds receive buffers, as many as go in or `limit`; how many. */
  offer(limit = Number.POSITIVE_INFINITY, length = BUFFER): number {
    let added = 0;
    while (added < limit && this.#rxFree.length > 0 && this.rx.free >= this.#pieces) {
      const slot = this.#rxFree.pop()!;
      this.#rxSlots.set(this.rx.add(this.#cut(this.#rxData + slot * BUFFER, length, true)), slot);
      added++;
    }
    return added;
  }

  /** Adds a frame; false when the ring is full. */
  send(frame: Uint8Array): boolean {
    this.reclaim();
    if (this.#txFree.length === 0 || this.tx.free < this.#pieces) return false;
    const slot = this.#txFree.pop()!;
    const at = this.#txData + slot * BUFFER;
    this.#memory.u8.fill(0, at, at + HEADER);
    this.#memory.u8.set(frame, at + HEADER);
    this.#txSlots.set(this.tx.add(this.#cut(at, HEADER + frame.length, false)), slot);
    return true;
  }

  /** Takes back transmitted buffers; how many. Throws when the device returns one that was never sent. */
  reclaim(): number {
    let count = 0;
    for (let used = this.tx.next(); used; used = this.tx.next()) {
      const slot = this.#txSlots.get(used.id);
      if (slot === undefined)
        throw new Error(`transmit queue returns id ${used.id}, which is not outstanding`);
      this.#txSlots.delete(used.id);
      this.#txFree.push(slot);
      count++;
    }
    return count;
  }

  /** All frames received since the last call. Throws when the device returns a buffer that was never offered. */
  receive(): ReceivedFrame[] {
    const frames: ReceivedFrame[] = [];
    for (let used = this.rx.next(); used; used = this.rx.next()) {
      const slot = this.#rxSlots.get(used.id);
      if (slot === undefined)
        throw new Error(`receive queue returns id ${used.id}, which is not outstanding`);
      this.#rxSlots.delete(used.id);
      this.#rxFree.push(slot);
      const at = this.#rxData + slot * BUFFER;
      const bytes = this.#memory.u8.slice(at, at + used.length);
      frames.push({ frame: bytes.subarray(HEADER), numBuffers: bytes[10]! | (bytes[11]! << 8) });
    }
    return frames;
  }

  #cut(offset: number, length: number, write: boolean): Piece[] {
    const pieces: Piece[] = [];
    const step = Math.ceil(length / this.#pieces);
    for (let at = 0; at < length; at += step) {
      pieces.push({ offset: offset + at, length: Math.min(step, length - at), write });
    }
    return pieces;
  }
}

/** A frame that names its pair and number, so that mix-ups show: addresses, an experimental EtherType, a pattern. */
export function testFrame(pair: number, number: number, length = 64): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, pair, 0x88, 0xb5]);
  new DataView(frame.buffer).setUint32(14, number, true);
  for (let i = 18; i < length; i++) frame[i] = (number * 31 + i * 7 + pair) & 0xff;
  return frame;
}

/** Pair and number of a test frame. */
export function frameLabel(frame: Uint8Array): { pair: number; number: number } {
  return { pair: frame[11]!, number: new DataView(frame.buffer, frame.byteOffset).getUint32(14, true) };
}
