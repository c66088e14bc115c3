import { SysError } from "../ffi/errno.ts";
import { OperatorError } from "../operator-error.ts";
import type { DmaMemory, DmaSpace, IovaRange } from "../pci-function.ts";
import { explainMemlock } from "./explain.ts";
import type { Iommu } from "./iommu.ts";
import type { Kernel } from "./kernel.ts";

const hex = (value: bigint) => `0x${value.toString(16)}`;
const span = (iova: bigint, size: bigint) => `${hex(iova)}-${hex(iova + size - 1n)}`;
const listed = (ranges: readonly IovaRange[]) =>
  ranges.map(({ first, last }) => `${hex(first)}-${hex(last)}`).join(", ");

/** The device's address space: checks what the kernel would refuse without saying why, and keeps what is mapped. */
export class VfioDmaSpace implements DmaSpace {
  readonly pageSize: number;
  readonly usable: readonly IovaRange[];
  readonly #mapped = new Map<bigint, bigint>();

  constructor(
    private readonly name: string,
    private readonly kernel: Kernel,
    private readonly iommu: Iommu,
  ) {
    this.pageSize = iommu.pageSize;
    this.usable = iommu.usable;
  }

  map(iova: bigint, memory: DmaMemory): void {
    const size = BigInt(memory.size);
    this.#check(iova, BigInt(memory.hva), size);
    try {
      this.iommu.map(iova, BigInt(memory.hva), size);
    } catch (error) {
      throw this.#explain(error, iova, size);
    }
    this.#mapped.set(iova, size);
  }

  unmap(iova: bigint, size: number): void {
    if (this.#mapped.get(iova) !== BigInt(size)) {
      throw new OperatorError(`${this.name}: IOVA ${span(iova, BigInt(size))} can not be unmapped`, {
        why: "it was not mapped as one",
      });
    }
    this.#remove(iova, BigInt(size));
  }

  /** Removes all mappings, even if some can not be; the reasons are returned. */
  unmapAll(): unknown[] {
    const failures: unknown[] = [];
    for (const [iova, size] of [...this.#mapped]) {
      try {
        this.#remove(iova, size);
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }

  #remove(iova: bigint, size: bigint): void {
    const removed = this.iommu.unmap(iova, size);
    this.#mapped.delete(iova);
    if (removed !== size) {
      throw new OperatorError(`${this.name}: IOVA ${span(iova, size)} can not be unmapped`, {
        why: `the kernel removed ${removed} of ${size} bytes`,
      });
    }
  }

  #check(iova: bigint, hva: bigint, size: bigint): void {
    const page = BigInt(this.pageSize);
    if (size <= 0n || iova % page || hva % page || size % page) {
      throw this.#refusal(iova, size, `address and size must be multiples of ${page} bytes`);
    }
    const last = iova + size - 1n;
    if (!this.usable.some((range) => range.first <= iova && last <= range.last)) {
      const end = this.usable.at(-1)?.last ?? -1n;
      const why =
        last > end
          ? `the IOMMU's addresses end at ${hex(end)} (${end.toString(2).length} bits)`
          : `the IOMMU reserves some of it and takes ${listed(this.usable)}`;
      throw this.#refusal(iova, size, why, "give the front-end's memory addresses within these ranges");
    }
    for (const [other, otherSize] of this.#mapped) {
      if (iova < other + otherSize && other < iova + size) {
        throw this.#refusal(iova, size, `it overlaps ${span(other, otherSize)}, which is mapped`);
      }
    }
  }

  #explain(error: unknown, iova: bigint, size: bigint): unknown {
    if (!(error instanceof SysError)) return error;
    if (error.code === "ENOMEM") {
      const mapped = [...this.#mapped.values()].reduce((sum, bytes) => sum + bytes, 0n);
      return explainMemlock(error, Number(size), Number(mapped), this.kernel, this.iommu.memlockScope);
    }
    const why =
      error.code === "EEXIST" || error.code === "EADDRINUSE"
        ? "part of it is mapped already"
        : error.code === "ENOSPC"
          ? `the kernel takes no more than ${this.#mapped.size} mappings`
          : error.code === "EFAULT"
            ? "part of the memory behind it can not be pinned for writing"
            : error.message;
    return this.#refusal(iova, size, why, undefined, error);
  }

  #refusal(iova: bigint, size: bigint, why: string, remedy?: string, cause?: unknown): OperatorError {
    const what = size > 0n ? span(iova, size) : hex(iova);
    return new OperatorError(`${this.name}: IOVA ${what} can not be mapped`, { why, remedy, cause });
  }
}
