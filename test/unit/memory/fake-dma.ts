import type { DmaMemory, DmaSpace, IovaRange } from "../../../src/hw/pci-function.ts";

/** A device address space that remembers what is mapped and can be made to fail. */
export class FakeDma implements DmaSpace {
  readonly pageSize = 4096;
  readonly mapped = new Map<bigint, DmaMemory>();
  /** Calls of `map` that still succeed. */
  mapsLeft = Number.POSITIVE_INFINITY;
  calls = 0;

  constructor(
    readonly usable: readonly IovaRange[] = [
      { first: 0n, last: 0xfedfffffn },
      { first: 0xfef00000n, last: (1n << 48n) - 1n },
    ],
  ) {}

  map(iova: bigint, memory: DmaMemory): void {
    this.calls++;
    if (this.mapsLeft-- <= 0) throw new Error("no room for another mapping");
    const end = iova + BigInt(memory.size);
    for (const [other, { size }] of this.mapped) {
      if (iova < other + BigInt(size) && other < end)
        throw new Error(`0x${iova.toString(16)} is mapped already`);
    }
    this.mapped.set(iova, memory);
  }

  unmap(iova: bigint, size: number): void {
    this.calls++;
    if (this.mapped.get(iova)?.size !== size)
      throw new Error(`0x${iova.toString(16)} is not mapped like this`);
    this.mapped.delete(iova);
  }

  /** Mapped ranges, neighbours joined, as `first-last` strings. */
  ranges(): string[] {
    const sorted = [...this.mapped].sort(([a], [b]) => (a < b ? -1 : 1));
    const joined: [bigint, bigint][] = [];
    for (const [iova, { size }] of sorted) {
      const last = joined.at(-1);
      if (last && last[1] === iova) last[1] = iova + BigInt(size);
      else joined.push([iova, iova + BigInt(size)]);
    }
    return joined.map(([first, end]) => `${first.toString(16)}-${end.toString(16)}`);
  }
}
