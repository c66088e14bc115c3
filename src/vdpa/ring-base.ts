import type { GuestMemory } from "../memory/guest-memory.ts";
import type { RingPosition } from "../relay/relay.ts";
import { packedUsedPosition } from "./packed-position.ts";
import type { VringConfig } from "./vdpa-device.ts";

/**
 * Vring bases as GET_VRING_BASE and SET_VRING_BASE carry them. Split: bits 0–15 the available index. Packed: bits
 * 0–14 the position of the next available descriptor, bit 15 its wrap counter, bits 16–31 the same for the next used
 * one; DPDK front-ends send only the low half.
 */

const WRAP = 0x8000;

/** The base of a packed ring, both halves equal. */
export function packedBase(position: number, wrap: boolean): number {
  const half = position | (wrap ? WRAP : 0);
  return (half | (half << 16)) >>> 0;
}

/** A relay's position as a base. */
export function baseOf(packed: boolean, position: RingPosition): number {
  const { availPosition, availWrap, usedPosition, usedWrap } = position;
  if (!packed) return usedPosition;
  return (availPosition | (availWrap << 15) | (usedPosition << 16) | (usedWrap << 31)) >>> 0;
}

/** A base as a relay's position. Of DPDK's 16-bit form of a packed base the used half is the available one. */
export function positionOf(packed: boolean, base: number): RingPosition {
  const low = base & 0xffff;
  if (!packed) return { availPosition: low, availWrap: 0, usedPosition: low, usedWrap: 0 };
  const high = base >>> 16 === 0 && (base & WRAP) !== 0 ? low : base >>> 16;
  return {
    availPosition: low & ~WRAP,
    availWrap: low >>> 15,
    usedPosition: high & ~WRAP,
    usedWrap: high >>> 15,
  };
}

/** Whether a queue that was just reset starts at this base: there is no register for any other. */
export function isFreshBase(packed: boolean, base: number): boolean {
  if (!packed) return base === 0;
  const used = base >>> 16;
  return (base & 0xffff) === WRAP && (used === 0 || used === WRAP);
}

/** The base in words, for messages. */
export function describeBase(packed: boolean, base: number): string {
  if (!packed) return `available index ${base}`;
  return `position ${base & 0x7fff} with wrap counter ${(base & WRAP) >> 15}`;
}

const DESC_SIZE = 16;

/**
 * The base of a packed ring whose device was stopped, from what the ring shows (virtio 1.3 §2.8.1). The device tells
 * its position nowhere; it is taken to be behind the last descriptor that was used in the current lap, so a chain of
 * several descriptors there counts as one.
 * @param ring the descriptor ring's bytes
 */
export function packedBaseOf(ring: Uint8Array): number {
  const { next, wrap } = packedUsedPosition(ring);
  return packedBase(next, wrap);
}

/** The base of a ring that its device no longer touches, from the guest's memory. */
export function ringPosition(memory: GuestMemory, ring: VringConfig, packed: boolean): number {
  if (packed) return packedBaseOf(memory.read(ring.descGpa, DESC_SIZE * ring.size));
  const [low, high] = memory.read(ring.deviceGpa + 2n, 2);
  return low! | (high! << 8);
}
