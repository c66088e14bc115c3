import type { DmaBuffer } from "../dma-buffer.ts";
import type { RingLayout } from "./ring-layout.ts";

/** One descriptor of a chain. */
export interface Segment {
  readonly iova: bigint;
  /** Bytes. */
  readonly length: number;
  readonly deviceWrites: boolean;
}

/** What became of a submitted chain; a fault is what the device did against the rules. */
export type Outcome = "pending" | "done" | { readonly fault: string };

/** The driver's side of a ring that carries one chain at a time and wants no interrupts. */
export interface CommandRing {
  /** Makes a chain available to the device, without ringing the doorbell. */
  submit(chain: readonly Segment[]): void;
  /** Looks once whether the device has used the chain. */
  poll(): Outcome;
}

/** Memory of a ring: it begins with the buffer's first byte. SAFETY: the buffer outlives the ring. */
export interface RingMemory {
  readonly buffer: DmaBuffer;
  readonly layout: RingLayout;
  readonly entries: number;
}

export const VRING_DESC_F_NEXT = 1;
export const VRING_DESC_F_WRITE = 2;

const fence = new Int32Array(1);

/**
 * Keeps the loads behind it from being taken before those in front of it, by the processor and by the JIT, which
 * moves plain loads out of loops. It touches only private memory: an atomic load writes its operand.
 */
export function acquireFence(): void {
  Atomics.load(fence, 0);
}
