/** Descriptor flags, virtio 1.3 §2.7.5 and §2.8.1. */
export const DESC_NEXT = 1;
export const DESC_WRITE = 2;
export const DESC_INDIRECT = 4;
export const DESC_AVAIL = 1 << 7;
export const DESC_USED = 1 << 15;
export const DESC_SIZE = 16;

/** Flags of the available and the used ring of a split ring, §2.7.6 and §2.7.8. */
export const AVAIL_NO_INTERRUPT = 1;
export const USED_NO_NOTIFY = 1;

/** Event suppression of packed rings, §2.8.10. */
export const EVENT_ENABLE = 0;
export const EVENT_DISABLE = 1;
export const EVENT_DESC = 2;

/** Whether a notification is due after a split ring's index went from `old` to `now`, §2.7.7 and §2.7.10. */
export function splitEventDue(event: number, now: number, old: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
}

/**
 * Whether a packed ring's event lies among the `moved` entries before `position`, §2.8.10.
 * @param event position and, in bit 15, wrap counter that the other side waits for
 */
export function packedEventDue(
  event: number,
  position: number,
  wrap: number,
  moved: number,
  size: number,
): boolean {
  const behind = position - (event & 0x7fff) + (event >>> 15 === wrap ? 0 : size);
  return behind >= 1 && behind <= moved;
}

/** The flags that make a packed descriptor available, or used, in a lap with this wrap counter. */
export const availFlags = (wrap: number): number => (wrap ? DESC_AVAIL : DESC_USED);
export const usedFlags = (wrap: number): number => (wrap ? DESC_AVAIL | DESC_USED : 0);

/** §2.8.1: available when AVAIL equals the wrap counter and USED does not; used when both do. */
export const isAvail = (flags: number, wrap: number): boolean =>
  (flags & (DESC_AVAIL | DESC_USED)) === availFlags(wrap);
export const isUsed = (flags: number, wrap: number): boolean =>
  (flags & (DESC_AVAIL | DESC_USED)) === usedFlags(wrap);

/**
 * How many packed descriptors from `position` on, at most `limit` and not beyond the ring's end, have exactly these
 * AVAIL and USED flags.
 */
export function countMarked(words: Uint16Array, position: number, limit: number, marks: number): number {
  const first = 8 * position + 7;
  const end = first + 8 * limit;
  let at = first;
  // `| 0` spares the overflow check.
  while (at < end && (words[at]! & (DESC_AVAIL | DESC_USED)) === marks) at = (at + 8) | 0;
  return (at - first) >> 3;
}
