import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import { nameOf, type RegionDescription } from "./region.ts";
import type { FileIdentity, RegionMap } from "./region-file.ts";

/** Most bytes that are mapped for DMA at once; pinning them takes up to a second. */
const CHUNK = 1n << 30n;

interface Chunk {
  readonly iova: bigint;
  readonly size: bigint;
  mapped: boolean;
}

/** Called before each chunk; throws to stop the mapping. */
export type BeforeChunk = (bytes: bigint) => void;

/**
 * A guest memory region mapped into this process and, in chunks, into the device's address space at IOVA = GPA.
 * SAFETY: owns its map from creation until `close`, which leaves the map alone while the device may still use it.
 */
export class MappedRegion {
  readonly #chunks: Chunk[] = [];

  constructor(
    readonly description: RegionDescription,
    readonly file: FileIdentity,
    readonly map: RegionMap,
  ) {
    const end = description.gpa + description.size;
    for (let iova = description.gpa; iova < end; ) {
      // Chunks end at multiples of their size, so that the IOMMU can use its largest pages.
      const next = (iova / CHUNK + 1n) * CHUNK;
      const size = (next < end ? next : end) - iova;
      this.#chunks.push({ iova, size, mapped: false });
      iova += size;
    }
  }

  /** Host virtual address of the region's first byte. */
  get hva(): number {
    return this.map.memory.hva + this.map.delta;
  }

  /** Maps for the device what is not mapped yet. On an error all that this call mapped is unmapped again. */
  mapDma(dma: DmaSpace, beforeChunk: BeforeChunk = () => {}): void {
    const done: Chunk[] = [];
    try {
      for (const chunk of this.#chunks.filter((c) => !c.mapped)) {
        beforeChunk(chunk.size);
        // SAFETY: the map belongs to this region and outlives the DMA mapping (see `close`).
        const hva = this.hva + Number(chunk.iova - this.description.gpa);
        dma.map(chunk.iova, { hva, size: Number(chunk.size), stable: this.map.stable });
        chunk.mapped = true;
        done.push(chunk);
      }
    } catch (error) {
      for (const chunk of done) this.#unmapChunk(dma, chunk);
      throw new OperatorError(`DMA mapping of memory region ${nameOf(this.description)}`, {
        why: messageOf(error),
        remedy: error instanceof OperatorError ? error.remedy : undefined,
        kind: error instanceof OperatorError ? error.kind : undefined,
        cause: error,
      });
    }
  }

  /** Takes the region from the device. Tries every chunk before it throws the first error. */
  unmapDma(dma: DmaSpace): void {
    let failure: { error: unknown } | undefined;
    for (const chunk of this.#chunks) {
      try {
        if (chunk.mapped) this.#unmapChunk(dma, chunk);
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
  }

  /** Removes the map from this process, unless the device could not be parted from it: then it stays for ever. */
  close(): void {
    if (this.#chunks.every((chunk) => !chunk.mapped)) this.map.memory.unmap();
  }

  #unmapChunk(dma: DmaSpace, chunk: Chunk): void {
    dma.unmap(chunk.iova, Number(chunk.size));
    chunk.mapped = false;
  }
}
