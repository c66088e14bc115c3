/**
 * SET_VRING_BASE and GET_VRING_BASE. Split: bits 0–15 the next available index. Packed: bits 0–14 the next available
 * position, bit 15 its wrap counter, bits 16–31 the same for the next used one.
 */
const WRAP = 0x8000;
const FRESH_PACKED = 0x80008000;

/** Where a ring starts when nobody said otherwise. */
export const freshBase = (packed: boolean): number => (packed ? FRESH_PACKED : 0);

/**
 * Completes a packed base of which only the low half was sent (DPDK front-ends send 0x8000): the used half becomes
 * the available one. With the available wrap counter 1, a used half of 0 could else only mean a full ring.
 */
export function completeBase(base: number, packed: boolean): number {
  if (!packed || base >>> 16 !== 0 || (base & WRAP) === 0) return base;
  return (base | (base << 16)) >>> 0;
}

/**
 * Why no ring can be at this position; undefined when one can.
 * @param size entries, 0 when not known yet
 */
export function basePositionProblem(base: number, packed: boolean, size: number): string | undefined {
  if (!packed) return base > 0xffff ? `the available index ${base} has more than 16 bits` : undefined;
  if (size === 0) return undefined;
  const avail = base & 0x7fff;
  const used = (base >>> 16) & 0x7fff;
  if (avail >= size || used >= size) {
    return `position ${Math.max(avail, used)} is beyond a packed ring of ${size} entries`;
  }
  const sameLap = ((base >>> 15) & 1) === base >>> 31;
  const inFlight = sameLap ? avail - used : avail + size - used;
  return inFlight < 0 || inFlight > size
    ? `available position ${avail} and used position ${used} are more than ${size} entries apart`
    : undefined;
}
