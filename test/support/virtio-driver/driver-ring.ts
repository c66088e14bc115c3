import type { DmaBuffer } from "../../../src/hw/dma-buffer.ts";

/** A piece of the driver's memory in a chain. */
export interface Piece {
  /** Byte offset in the driver's DmaBuffer. */
  readonly offset: number;
  readonly length: number;
  /** The device writes it. */
  readonly write: boolean;
}

export interface Used {
  /** What `add` returned for the chain. */
  readonly id: number;
  /** Bytes that the device says it wrote. */
  readonly length: number;
}

export interface RingOptions {
  readonly eventIdx?: boolean;
  /** Puts each chain into an indirect table. */
  readonly indirect?: boolean;
}

/** Longest chain that an indirect table here has room for. */
export const TABLE_ENTRIES = 16;

/** The driver's side of a virtqueue: a reference to test a device against. Split and packed do the same. */
export interface DriverRing {
  readonly size: number;
  /** IOVAs for QueueSetup. */
  readonly desc: bigint;
  readonly driver: bigint;
  readonly device: bigint;
  /** Descriptors that are free. */
  readonly free: number;
  /** Writes a chain that `publish` makes available; returns its id. */
  add(pieces: readonly Piece[]): number;
  /** Makes what was added available; true when the device wants to be notified. */
  publish(): boolean;
  /** The next used chain, whose descriptors are free again. */
  next(): Used | undefined;
  /** Asks for an interrupt for the next used chain; true when there is one already. */
  armInterrupt(): boolean;
  /** Asks for no interrupts. */
  disarmInterrupt(): void;
}

/** Typed views of a DmaBuffer of less than 2 GiB. */
export class RingMemory {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly iova: number;

  constructor(readonly buffer: DmaBuffer) {
    ({ u8: this.u8, u16: this.u16, u32: this.u32 } = buffer.memory.window(0));
    this.iova = Number(buffer.iova);
  }

  /** Writes a descriptor; `last` holds its last four bytes. */
  descriptor(at: number, iova: number, length: number, last: number): void {
    this.u32[at >> 2] = iova % 2 ** 32;
    this.u32[(at >> 2) + 1] = Math.floor(iova / 2 ** 32);
    this.u32[(at >> 2) + 2] = length;
    this.u32[(at >> 2) + 3] = last;
  }
}

const own = new Int32Array(1);

/** Orders all earlier accesses of this thread before all later ones, for the compiler too. */
export function fence(): void {
  Atomics.add(own, 0, 0);
}
