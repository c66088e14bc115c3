import { type Pointer, toArrayBuffer } from "bun:ffi";
import { E, SysError } from "../ffi/errno.ts";
import type { DmaMemory, IovaRange } from "../pci-function.ts";
import { DeviceFault } from "./device-fault.ts";
import { PAGE_SIZE } from "./sim-options.ts";

const WINDOW = 2 ** 31;
/** Type 1 IOMMUs of Linux allow as many (dma_entry_limit). */
const MAX_MAPPINGS = 65535;

const hex = (n: number | bigint) => `0x${n.toString(16)}`;

/**
 * At most 2 GiB of mapped memory. SAFETY: the memory is the mapper's until it unmaps; the views exist only for
 * stable memory and are emptied by `drop`, before which the mapper does not take the memory back.
 */
export class Segment {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  /** First IOVA after the segment; moved below `first` once it is unmapped, so that it holds nothing. */
  end: number;

  constructor(
    readonly first: number,
    size: number,
    readonly hva: number,
    readonly stable: boolean,
  ) {
    this.end = first + size;
    const buffer = stable ? toArrayBuffer(hva as Pointer, 0, size) : new ArrayBuffer(0);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
  }

  drop(): void {
    this.end = -1;
    (this.u8.buffer as ArrayBuffer).transfer(0);
  }
}

/** What the device can reach: the simulated IOMMU. */
export class IovaMap {
  readonly #mappings = new Map<number, { size: number; segments: Segment[] }>();
  #segments: Segment[] = [];

  constructor(readonly usable: readonly IovaRange[]) {}

  get mappings(): number {
    return this.#mappings.size;
  }

  /** Makes memory reachable. Throws SysError EINVAL (alignment, aperture), EEXIST (overlap) or ENOSPC. */
  map(iova: bigint, { hva, size, stable }: DmaMemory): void {
    const refuse = (errno: number, why?: string) => {
      const path = `${hex(iova)}+${hex(size)}`;
      return new SysError(
        "map for the simulated device",
        errno,
        path,
        why ? { why: `${why} (${errno === E.EINVAL ? "EINVAL" : "EEXIST"})` } : {},
      );
    };
    if (size <= 0 || size % PAGE_SIZE || hva % PAGE_SIZE || iova % BigInt(PAGE_SIZE)) {
      throw refuse(E.EINVAL, `address and size must be multiples of ${PAGE_SIZE}`);
    }
    const last = iova + BigInt(size) - 1n;
    if (!this.usable.some((range) => range.first <= iova && last <= range.last)) {
      throw refuse(E.EINVAL, "outside of the usable IOVA ranges");
    }
    const first = Number(iova);
    if (this.#segments.some((s) => s.first < first + size && first < s.end)) {
      throw refuse(E.EEXIST, "overlaps an earlier map");
    }
    if (this.#mappings.size >= MAX_MAPPINGS) throw refuse(E.ENOSPC);
    const segments: Segment[] = [];
    for (let at = 0; at < size; at += WINDOW) {
      segments.push(new Segment(first + at, Math.min(WINDOW, size - at), hva + at, stable));
    }
    this.#mappings.set(first, { size, segments });
    this.#segments = [...this.#segments, ...segments].sort((a, b) => a.first - b.first);
  }

  /** Removes exactly one earlier map. Throws SysError ENOENT when there is no such one. */
  unmap(iova: bigint, size: number): void {
    const mapping = this.#mappings.get(Number(iova));
    if (mapping?.size !== size) {
      throw new SysError("unmap for the simulated device", E.ENOENT, `${hex(iova)}+${hex(size)}`);
    }
    this.#mappings.delete(Number(iova));
    this.#segments = this.#segments.filter((segment) => !mapping.segments.includes(segment));
    for (const segment of mapping.segments) segment.drop();
  }

  unmapAll(): void {
    for (const segment of this.#segments) segment.drop();
    this.#segments = [];
    this.#mappings.clear();
  }

  /** The segment that holds the byte at `iova`. Throws DeviceFault where nothing is mapped. */
  find(iova: number): Segment {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const segment = this.#segments[middle]!;
      if (iova < segment.first) high = middle - 1;
      else if (iova >= segment.end) low = middle + 1;
      else return segment;
    }
    throw new DeviceFault(`DMA to IOVA ${hex(iova)}, where nothing is mapped`);
  }
}
