import type { DmaSpace } from "../hw/pci-function.ts";

/** A region as a front-end sends it (vhost-user memory region description). */
export interface RegionDescription {
  readonly gpa: bigint;
  /** Bytes. */
  readonly size: bigint;
  readonly uva: bigint;
  /** Offset of the region's first byte in the fd. */
  readonly mmapOffset: bigint;
}

export declare class GuestMemory {
  constructor(dma: DmaSpace);
}
