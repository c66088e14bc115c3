import { OperatorError } from "../hw/operator-error.ts";

/** A region as a front-end sends it (vhost-user memory region description). */
export interface RegionDescription {
  readonly gpa: bigint;
  /** Bytes. */
  readonly size: bigint;
  readonly uva: bigint;
  /** Offset of the region's first byte in the fd. */
  readonly mmapOffset: bigint;
}

/** A region with the fd of its memory; the fd stays the caller's. */
export interface RegionFd {
  readonly description: RegionDescription;
  readonly fd: number;
}

export const hex = (n: bigint | number): string => `0x${n.toString(16)}`;

/** `GPA 0x0–0xfffff`, the region's name in messages. */
export function nameOf({ gpa, size }: { gpa: bigint; size: bigint }): string {
  return `GPA ${hex(gpa)}–${hex(gpa + size - 1n)}`;
}

/** Whether [a, a + aSize) and [b, b + bSize) share an address. */
export function rangesMeet(a: bigint, aSize: bigint, b: bigint, bSize: bigint): boolean {
  return a < b + bSize && b < a + aSize;
}

/** Whether two descriptions are the same but for the file behind them. */
export function sameDescription(a: RegionDescription, b: RegionDescription): boolean {
  return a.gpa === b.gpa && a.size === b.size && a.uva === b.uva && a.mmapOffset === b.mmapOffset;
}

/**
 * Translates a front-end address by a memory table. The whole range must lie in one region.
 * @param what names the range in the error
 */
export function uvaToGpaIn(
  regions: readonly RegionDescription[],
  uva: bigint,
  length: number,
  what = "range",
): bigint {
  for (const region of regions) {
    if (uva < region.uva || uva >= region.uva + region.size) continue;
    if (uva + BigInt(length) > region.uva + region.size) {
      throw new OperatorError(`${what} at UVA ${hex(uva)} with ${length} bytes`, {
        why: `it crosses the end of the memory region ${nameOf(region)}`,
        kind: "protocol",
      });
    }
    return region.gpa + (uva - region.uva);
  }
  throw new OperatorError(`${what} at UVA ${hex(uva)}`, {
    why: regions.length === 0 ? "there is no memory table yet" : "no memory region holds this address",
    kind: "protocol",
  });
}
