import { type Pointer, toArrayBuffer } from "bun:ffi";
import type { DmaMemory, DmaSpace } from "../../../../src/hw/pci-function.ts";

/** An address space that only remembers what is mapped and reads it for the device's side. */
export class FakeDma implements DmaSpace {
  readonly pageSize = 4096;
  readonly usable = [{ first: 0n, last: 2n ** 48n - 1n }];
  readonly mapped = new Map<bigint, DmaMemory>();

  map(iova: bigint, memory: DmaMemory): void {
    this.mapped.set(iova, memory);
  }

  unmap(iova: bigint): void {
    this.mapped.delete(iova);
  }

  /** SAFETY: the test keeps the memory mapped while it uses the view. */
  view(iova: bigint, length: number): DataView {
    for (const [start, { hva, size }] of this.mapped) {
      const offset = Number(iova - start);
      if (offset >= 0 && offset + length <= size) {
        return new DataView(toArrayBuffer((hva + offset) as Pointer, 0, length));
      }
    }
    throw new Error(`the device reached unmapped IOVA 0x${iova.toString(16)}+${length}`);
  }
}
