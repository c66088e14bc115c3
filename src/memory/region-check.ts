import { OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace, IovaRange } from "../hw/pci-function.ts";
import { apertureProblem } from "./aperture.ts";
import { hex, nameOf, type RegionDescription, rangesMeet } from "./region.ts";

const U64_END = 1n << 64n;

/** Throws for a region that can not be on its own: empty, unaligned, wrapping around. */
export function checkRegion(region: RegionDescription, pageSize: number): void {
  const refuse = (why: string) => {
    throw new OperatorError(`memory region at GPA ${hex(region.gpa)}`, { why, kind: "protocol" });
  };
  if (region.size === 0n) refuse("its size is 0");
  const ends = [
    ["GPA", region.gpa],
    ["UVA", region.uva],
    ["mmap offset", region.mmapOffset],
  ] as const;
  for (const [name, start] of ends) {
    if (start + region.size > U64_END) {
      refuse(`its ${name} ${hex(start)} + size ${hex(region.size)} wraps around`);
    }
  }
  for (const [name, value] of [...ends, ["size", region.size] as const]) {
    if (value % BigInt(pageSize) !== 0n) {
      refuse(
        `its ${name} ${hex(value)} is not a multiple of ${pageSize}, the smallest page that can be mapped`,
      );
    }
  }
}

/**
 * Throws for a table that can not be mapped as a whole, naming the regions in conflict.
 * @param reserved ranges that our own DMA buffers take
 */
export function checkTable(
  table: readonly RegionDescription[],
  dma: DmaSpace,
  reserved: readonly IovaRange[],
): void {
  for (const region of table) {
    checkRegion(region, dma.pageSize);
    const problem = apertureProblem(region, dma.usable);
    if (problem) throw problem;
    const own = reserved.find((r) => rangesMeet(region.gpa, region.size, r.first, r.last - r.first + 1n));
    if (own) {
      throw new OperatorError(`memory region ${nameOf(region)}`, {
        why: `it meets our own DMA buffer at ${hex(own.first)}–${hex(own.last)}`,
        remedy: "connect the front-end again: the buffer is placed anew around the guest's memory",
      });
    }
  }
  checkApart(table, "gpa", "guest");
  checkApart(table, "uva", "user");
}

function checkApart(table: readonly RegionDescription[], key: "gpa" | "uva", kind: string): void {
  const sorted = [...table].sort((a, b) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0));
  for (const [i, region] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before && before[key] + before.size > region[key]) {
      throw new OperatorError(`memory regions ${nameOf(before)} and ${nameOf(region)}`, {
        why: `their ${kind} addresses overlap at ${key.toUpperCase()} ${hex(region[key])}`,
        kind: "protocol",
      });
    }
  }
}
