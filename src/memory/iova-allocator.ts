import { OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import type { GuestMemory } from "./guest-memory.ts";

/**
 * Finds device addresses for a DMA buffer of ours: the highest free ones, where guest memory is not met (constants
 * break on narrow IOMMUs, and our own addresses could be a guest's). Deterministic; `memory.reserve` keeps the range
 * free of guest memory that comes later.
 * @param size bytes, rounded up to whole pages
 * @throws OperatorError when no gap is large enough
 */
export function allocateIova(dma: DmaSpace, memory: GuestMemory, size: number): bigint {
  const page = BigInt(dma.pageSize);
  const bytes = ((BigInt(size) + page - 1n) / page) * page;
  for (const range of [...dma.usable].reverse()) {
    let first = ((range.last + 1n - bytes) / page) * page;
    while (first >= range.first && first >= 0n) {
      const obstacle = memory.lowestMeeting(first, first + bytes - 1n);
      if (obstacle === undefined) return first;
      if (obstacle < bytes) break;
      first = ((obstacle - bytes) / page) * page;
    }
  }
  throw new OperatorError(`no device addresses for a buffer of ${bytes} bytes`, {
    why: "guest memory and reserved ranges fill the IOMMU's address space",
    remedy: "use an IOMMU with more address bits or a smaller guest",
    kind: "not-ready",
  });
}
