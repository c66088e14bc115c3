import type { IovaRange } from "../pci-function.ts";
import type { MemlockScope } from "./explain.ts";

/** How mappings reach the IOMMU: through a type 1 container or through iommufd. */
export interface Iommu {
  /** Smallest page that can be mapped, in bytes. */
  readonly pageSize: number;
  /** Whose locked memory the mapped pages count as. */
  readonly memlockScope: MemlockScope;
  /** Addresses that can be mapped, ascending. */
  readonly usable: readonly IovaRange[];
  /** Throws a SysError as the kernel refuses it. */
  map(iova: bigint, hva: bigint, size: bigint): void;
  /** @returns bytes that were removed */
  unmap(iova: bigint, size: bigint): bigint;
}
