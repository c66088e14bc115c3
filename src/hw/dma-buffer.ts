import { closeFd, memfd } from "./ffi/fd.ts";
import { MappedMemory } from "./ffi/mmap.ts";
import type { DmaSpace } from "./pci-function.ts";

/** Memory that a device and a thread of ours use, whoever owns it. */
export interface SharedBuffer {
  readonly memory: MappedMemory;
  /** The device's address of the first byte. */
  readonly iova: bigint;
}

/** Zeroed memory of ours that a device may use. SAFETY: owned here from creation until `close`. */
export class DmaBuffer implements SharedBuffer {
  private constructor(
    readonly memory: MappedMemory,
    /** The device's address of the first byte. */
    readonly iova: bigint,
    readonly dma: DmaSpace,
  ) {}

  /** Allocates `size` bytes (a multiple of the page size) and maps them at `iova`. */
  static create(dma: DmaSpace, iova: bigint, size: number, name: string): DmaBuffer {
    const fd = memfd(name, size);
    let memory: MappedMemory;
    try {
      memory = MappedMemory.map(fd, size, 0, name);
    } finally {
      closeFd(fd);
    }
    try {
      dma.map(iova, { hva: memory.hva, size, stable: true });
    } catch (error) {
      memory.unmap();
      throw error;
    }
    return new DmaBuffer(memory, iova, dma);
  }

  /** Takes the memory from the device, which must be reset or have forgotten it, and frees it. */
  close(): void {
    this.dma.unmap(this.iova, this.memory.size);
    this.memory.unmap();
  }
}
