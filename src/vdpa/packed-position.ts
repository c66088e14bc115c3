const DESC_SIZE = 16;
const F_AVAIL = 1 << 7;
const F_USED = 1 << 15;

/** Where the device uses the next descriptor, and the wrap counter there. */
export interface PackedPosition {
  readonly next: number;
  readonly wrap: boolean;
}

/** Flags of a descriptor, from a descriptor ring's bytes. */
export const packedFlags = (ring: Uint8Array, i: number): number =>
  ring[i * DESC_SIZE + 14]! | (ring[i * DESC_SIZE + 15]! << 8);

/** Whether the driver has made a descriptor available in the lap with this wrap counter, and it is not used yet. */
export const isPackedAvail = (flags: number, wrap: boolean): boolean =>
  ((flags & F_AVAIL) !== 0) === wrap && ((flags & F_USED) !== 0) !== wrap;

const isUsed = (flags: number) => ((flags & F_AVAIL) !== 0) === ((flags & F_USED) !== 0);

/**
 * The used position that a packed ring's flags show (virtio 1.3 §2.8.1): behind the last descriptor that was used in
 * the current lap. A used descriptor does not tell how many its chain had, so a chain of several counts as one.
 * @param ring the descriptor ring's bytes
 */
export function packedUsedPosition(ring: Uint8Array): PackedPosition {
  const size = ring.byteLength / DESC_SIZE;
  const first = packedFlags(ring, 0);
  const wrap = (first & F_AVAIL) !== 0;
  if (!isUsed(first)) {
    // Nothing of the first descriptor's lap is used yet, and perhaps not all of the lap before.
    let next = size;
    while (next > 0 && isPackedAvail(packedFlags(ring, next - 1), !wrap)) next--;
    return next < size ? { next, wrap: !wrap } : { next: 0, wrap };
  }
  // A first descriptor that was never touched: nothing at all is used.
  if (!wrap && !ring.some((byte) => byte !== 0)) return { next: 0, wrap: true };
  let last = 0;
  for (let i = 1; i < size; i++) {
    const flags = packedFlags(ring, i);
    if (isUsed(flags) && ((flags & F_USED) !== 0) === wrap) last = i;
  }
  return last + 1 < size ? { next: last + 1, wrap } : { next: 0, wrap: !wrap };
}
