/** Where the parts of a ring lie, in bytes from its first. */
export interface RingLayout {
  readonly desc: number;
  /** Available ring (split) or driver event suppression area (packed). */
  readonly driver: number;
  /** Used ring (split) or device event suppression area (packed). */
  readonly device: number;
  /** Bytes of the whole ring. */
  readonly size: number;
}

export const alignUp = (value: number, to: number): number => Math.ceil(value / to) * to;

/**
 * One contiguous split ring (virtio 1.3 §2.7; with `usedAlign` 4096 as the legacy layout dictates it, §2.7.2).
 * Both event fields are included.
 */
export function splitRingLayout(entries: number, usedAlign = 4): RingLayout {
  const driver = 16 * entries;
  const device = alignUp(driver + 6 + 2 * entries, usedAlign);
  return { desc: 0, driver, device, size: device + 6 + 8 * entries };
}

/** A packed ring with its two event suppression areas behind it (virtio 1.3 §2.8). */
export function packedRingLayout(entries: number): RingLayout {
  const driver = 16 * entries;
  return { desc: 0, driver, device: driver + 4, size: driver + 8 };
}
