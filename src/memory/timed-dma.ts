import type { DmaMemory, DmaSpace, IovaRange } from "../hw/pci-function.ts";

/** Milliseconds that mapping memory for a device has taken since it was last set to 0. */
export interface MappingTime {
  ms: number;
}

/** A device's address space that adds up how long mapping takes: pinning a large guest's memory takes seconds. */
export class TimedDma implements DmaSpace {
  constructor(
    private readonly dma: DmaSpace,
    private readonly time: MappingTime,
  ) {}

  get pageSize(): number {
    return this.dma.pageSize;
  }

  get usable(): readonly IovaRange[] {
    return this.dma.usable;
  }

  map(iova: bigint, memory: DmaMemory): void {
    const began = performance.now();
    this.dma.map(iova, memory);
    this.time.ms += performance.now() - began;
  }

  unmap(iova: bigint, size: number): void {
    this.dma.unmap(iova, size);
  }
}
