import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import { nameOf, type RegionDescription } from "./region.ts";
import type { FileIdentity, RegionMap } from "./region-file.ts";

/** Most bytes that are mapped for DMA at once; pinning them takes up to a second. */
const CHUNK = 1n << 30n;

export interface Chunk {
  readonly iova: bigint;
  readonly size: bigint;
  mapped: boolean;
}

/** Called before each chunk; throws to stop the mapping. */
export type BeforeChunk = (bytes: bigint) => void;

/**
 * A guest memory region mapped into this process and, in chunks, into the address spaces of one device or, while a guest
 * moves, two, at IOVA = GPA. SAFETY: owns its map from creation until `close`, which leaves the map alone while a device
 * may still use it.
 */
export class MappedRegion {
  readonly #chunks = new Map<DmaSpace, Chunk[]>();

  constructor(
    readonly description: RegionDescription,
    readonly file: FileIdentity,
    readonly map: RegionMap,
  ) {}

  /** Host virtual address of the region's first byte. */
  get hva(): number {
    return this.map.memory.hva + this.map.delta;
  }

  /** Maps for the device what is not mapped yet. On an error all that this call mapped is unmapped again. */
  mapDma(dma: DmaSpace, beforeChunk: BeforeChunk = () => {}): void {
    const done: Chunk[] = [];
    try {
      for (let chunk = this.mapChunk(dma, beforeChunk); chunk; chunk = this.mapChunk(dma, beforeChunk)) {
        done.push(chunk);
      }
    } catch (error) {
      for (const chunk of done) this.#unmapChunk(dma, chunk);
      throw error;
    }
  }

  /** Maps the next chunk that is not mapped yet; undefined when all are. */
  mapChunk(dma: DmaSpace, beforeChunk: BeforeChunk = () => {}): Chunk | undefined {
    const chunk = this.#chunksFor(dma).find((candidate) => !candidate.mapped);
    if (!chunk) return undefined;
    try {
      beforeChunk(chunk.size);
      // SAFETY: the map belongs to this region and outlives the DMA mapping (see `close`).
      const hva = this.hva + Number(chunk.iova - this.description.gpa);
      dma.map(chunk.iova, { hva, size: Number(chunk.size), stable: this.map.stable });
      chunk.mapped = true;
      return chunk;
    } catch (error) {
      throw new OperatorError(`DMA mapping of memory region ${nameOf(this.description)}`, {
        why: messageOf(error),
        remedy: error instanceof OperatorError ? error.remedy : undefined,
        kind: error instanceof OperatorError ? error.kind : undefined,
        cause: error,
      });
    }
  }

  /** Takes the region from a device. Tries every chunk before it throws the first error. */
  unmapDma(dma: DmaSpace): void {
    let failure: { error: unknown } | undefined;
    for (const chunk of this.#chunks.get(dma) ?? []) {
      try {
        if (chunk.mapped) this.#unmapChunk(dma, chunk);
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
    this.#chunks.delete(dma);
  }

  /** Removes the map from this process, unless a device could not be parted from it: then it stays for ever. */
  close(): void {
    const mapped = [...this.#chunks.values()].flat().some((chunk) => chunk.mapped);
    if (!mapped) this.map.memory.unmap();
  }

  #chunksFor(dma: DmaSpace): Chunk[] {
    let chunks = this.#chunks.get(dma);
    if (!chunks) {
      chunks = chunksOf(this.description);
      this.#chunks.set(dma, chunks);
    }
    return chunks;
  }

  #unmapChunk(dma: DmaSpace, chunk: Chunk): void {
    dma.unmap(chunk.iova, Number(chunk.size));
    chunk.mapped = false;
  }
}

/** Chunks end at multiples of their size, so that the IOMMU can use its largest pages. */
function chunksOf({ gpa, size: bytes }: RegionDescription): Chunk[] {
  const chunks: Chunk[] = [];
  const end = gpa + bytes;
  for (let iova = gpa; iova < end; ) {
    const next = (iova / CHUNK + 1n) * CHUNK;
    const size = (next < end ? next : end) - iova;
    chunks.push({ iova, size, mapped: false });
    iova += size;
  }
  return chunks;
}
