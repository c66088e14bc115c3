import { ptr } from "bun:ffi";
import { atomicAddBit } from "../hw/ffi/kernel-atomics.ts";
import type { MappedMemory } from "../hw/ffi/mmap.ts";
import { copyFromProcess, copyToProcess } from "../hw/ffi/process-memory.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import { RingFault } from "./ring-fault.ts";

/**
 * One part of a guest's ring as typed views that begin with its first byte. Where the file behind it can not shrink
 * the views are the guest's memory itself, and `pull` and `push` do nothing. Elsewhere they are a copy, which `pull`
 * and `push` exchange with the guest through the kernel, so that the same code serves both and no access can raise
 * SIGBUS. Offsets and lengths are bytes.
 * SAFETY: direct views lie in a window of the MappedMemory, which empties them when it is unmapped; the copying kind
 * asks the MappedMemory before each use whether it is still mapped.
 */
export class RingArea {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  /** The same words as signed numbers, which are cheaper in hot loops. */
  readonly i32: Int32Array;
  /** Whether the views are a copy. */
  readonly copied: boolean;
  readonly #memory: MappedMemory;
  readonly #offset: number;
  /** Address of the copy; 0 when there is none. */
  readonly #copyHva: number;

  private constructor(memory: MappedMemory, offset: number, length: number, direct: boolean) {
    this.#memory = memory;
    this.#offset = offset;
    this.copied = !direct;
    const window = direct ? memory.window(offset) : undefined;
    const buffer = (window?.u8.buffer as ArrayBuffer | undefined) ?? new ArrayBuffer(length + 8);
    const start = window ? offset - window.offset : 0;
    this.u8 = new Uint8Array(buffer, start, length);
    this.u16 = new Uint16Array(buffer, start, length >> 1);
    // The available ring is only 2-aligned; nobody reads words of it.
    this.u32 = start % 4 === 0 ? new Uint32Array(buffer, start, length >> 2) : new Uint32Array(0);
    this.i32 = new Int32Array(buffer, this.u32.length > 0 ? start : 0, this.u32.length);
    this.#copyHva = direct ? 0 : ptr(this.u8);
  }

  /**
   * Finds a part of a ring in guest memory.
   * @throws OperatorError when it is misaligned or not inside one region
   */
  static locate(memory: GuestMap, gpa: bigint, length: number, align: number, what: string): RingArea {
    if (gpa % BigInt(align) !== 0n) {
      throw new OperatorError(`${what} at GPA 0x${gpa.toString(16)}`, {
        why: `its address is not a multiple of ${align}`,
        kind: "protocol",
      });
    }
    const located = memory.locate(gpa, length);
    const last = located.offset + length - 1;
    // A part that crosses from one window to the next has no view of its own; the copy serves that rare case too.
    const oneWindow = located.memory.window(located.offset) === located.memory.window(last);
    return new RingArea(located.memory, located.offset, length, located.stable && oneWindow);
  }

  /** Makes the guest's bytes visible in the views. */
  pull(offset: number, length: number): void {
    if (this.#copyHva === 0) return;
    if (copyFromProcess(this.#hva() + offset, this.#copyHva + offset, length) !== 0) throw gone();
  }

  /** Makes bytes of the views visible to the guest. */
  push(offset: number, length: number): void {
    if (this.#copyHva === 0) return;
    if (copyToProcess(this.#hva() + offset, this.#copyHva + offset, length) !== 0) throw gone();
  }

  /**
   * Adds to the upper half of a word of the guest's, in steps that are each atomic: a reader sees the old value, the
   * new one or one in between. Only where the views are a copy.
   */
  addHigh(offset: number, value: number): void {
    const hva = this.#hva() + offset;
    for (let bit = 0; bit < 16; bit++) {
      if (value & (1 << bit) && atomicAddBit(hva, 16 + bit) !== 0) throw gone();
    }
  }

  #hva(): number {
    try {
      // Throws once the region was unmapped.
      this.#memory.window(this.#offset);
    } catch {
      throw new RingFault("guest", "the memory of the ring was removed");
    }
    return this.#memory.hva + this.#offset;
  }
}

const gone = () => new RingFault("guest", "the memory of the ring is gone: its file was truncated");
