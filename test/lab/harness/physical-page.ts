// Memory whose physical address is known, for a device that no IOMMU translates for.
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";
import { MappedMemory } from "../../../src/hw/ffi/mmap.ts";
import { Region } from "../../support/front-end/guest-memory.ts";

const PAGE = 4096;
const HUGE_PAGE = 2 * 1024 * 1024;
const FRONT_END_ADDRESS = 0x7f10_0000_0000n;
/** Of an entry in /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
const FRAME_NUMBER = (1n << 55n) - 1n;
const PRESENT = 1n << 63n;

/** Address of the physical page behind a mapped one of this process. */
function physicalAddress(hva: number): bigint {
  const entry = Buffer.alloc(8);
  const file = openSync("/proc/self/pagemap", "r");
  try {
    readSync(file, entry, 0, 8, (hva / PAGE) * 8);
  } finally {
    closeSync(file);
  }
  const bits = entry.readBigUInt64LE();
  const frame = bits & FRAME_NUMBER;
  if ((bits & PRESENT) === 0n || frame === 0n)
    throw new Error("the kernel does not tell the physical address");
  return frame * BigInt(PAGE);
}

/** A huge page, which lies in one piece in physical memory, at that address of the guest's. */
function physicalRegion(index: number): Region {
  const path = `/dev/hugepages/physical-${index}`;
  const fd = openSync(path, "w+");
  unlinkSync(path);
  ftruncateSync(fd, HUGE_PAGE);
  const memory = MappedMemory.map(fd, HUGE_PAGE, 0, "huge page");
  try {
    // The page is only there once it was written to.
    memory.window(0).u8[0] = 0;
    const gpa = physicalAddress(memory.hva);
    const uva = FRONT_END_ADDRESS + BigInt(index * HUGE_PAGE);
    return Region.create({ gpa, uva, size: HUGE_PAGE, file: "huge" }, fd, 0);
  } finally {
    memory.unmap();
  }
}

/**
 * A guest's memory of `count` huge pages of 2 MiB each, whose guest addresses are the physical ones. The caller closes
 * the regions.
 */
export function physicalRegions(count: number): Region[] {
  return Array.from({ length: count }, (_, index) => physicalRegion(index));
}
