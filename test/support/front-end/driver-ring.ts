import type { GuestBuffer } from "./guest-memory.ts";

/** One piece of a buffer, in guest addresses. */
export interface Segment {
  /** GPA, low and high half. */
  readonly low: number;
  readonly high: number;
  /** Bytes; changes with every use of the buffer. */
  length: number;
}

/** A buffer that the device uses: all segments are read or all are written by it. */
export interface Chain {
  readonly segments: readonly Segment[];
  /** How many of the segments are used this time. */
  count: number;
  readonly write: boolean;
  /** 16 bytes per segment for an indirect table, or none. */
  readonly table: GuestBuffer | undefined;
}

/** A buffer that the device is done with. */
export interface Used<T> {
  readonly token: T;
  /** Bytes that the device says it wrote. */
  readonly length: number;
}

/** The driver's side of a virtqueue (virtio 1.3 §2.7 split, §2.8 packed). Only one buffer per token at a time. */
export interface DriverRing<T> {
  readonly size: number;
  /** The three areas as SET_VRING_ADDR names them. */
  readonly desc: GuestBuffer;
  readonly avail: GuestBuffer;
  readonly used: GuestBuffer;
  /** SET_VRING_BASE of a ring that has not run. */
  readonly freshBase: number;
  /** Buffers that the device holds. */
  readonly outstanding: number;
  /** Where the next entry goes as a vring base: available index (split), position and wrap counter (packed). */
  readonly nextBase: number;

  /** Whether `add` has room for a chain. */
  fits(chain: Chain): boolean;
  /** Puts a buffer into the ring, not yet visible to the device. */
  add(chain: Chain, token: T): void;
  /** Makes what was added visible; returns whether the device wants a kick. */
  publish(): boolean;
  /** Takes the next buffer the device is done with. Throws when the device breaks the ring's rules. */
  take(): Used<T> | undefined;
  /** Asks for an interrupt at the next used buffer; true when one is there already. */
  arm(): boolean;
  /** Back to the state of a new ring; outstanding buffers are forgotten. */
  reset(): void;
}

/** Descriptor flags (virtio 1.3 §2.7.5, §2.8.3). */
export const F_NEXT = 1;
export const F_WRITE = 2;
export const F_INDIRECT = 4;

/** Descriptors that a chain takes in its ring. */
export const descriptorsOf = (chain: Chain) => (chain.table ? 1 : chain.count);

/** Whether an index that moved from `old` to `now` passed `event` (virtio 1.3 §2.7.7.2), all modulo 2^16. */
export function passed(event: number, now: number, old: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
}

/** Low and high half of a GPA. */
export const halves = (gpa: bigint) => ({ low: Number(gpa & 0xffff_ffffn), high: Number(gpa >> 32n) });
