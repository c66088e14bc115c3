import type { IovaRange } from "../pci-function.ts";

/** How mappings reach the IOMMU: through a type 1 container or through iommufd. */
export interface Iommu {
  /** Smallest page that can be mapped, in bytes. */
  readonly pageSize: number;
  /** Addresses that can be mapped, ascending. */
  readonly usable: readonly IovaRange[];
  /** Throws a SysError as the kernel refuses it. */
  map(iova: bigint, hva: bigint, size: bigint): void;
  /** @returns bytes that were removed */
  unmap(iova: bigint, size: bigint): bigint;
}
