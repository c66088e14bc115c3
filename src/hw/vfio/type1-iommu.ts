import type { IovaRange } from "../pci-function.ts";
import { findCapability } from "./capability-chain.ts";
import type { Iommu } from "./iommu.ts";
import type { Kernel } from "./kernel.ts";
import {
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iova_range,
} from "./structs.ts";
import {
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
} from "./uapi.ts";

/** A kernel that does not tell its ranges takes all of 64 bits, as far as it says. */
const EVERYTHING: readonly IovaRange[] = [{ first: 0n, last: 2n ** 64n - 1n }];
const LARGEST_INFO = 1 << 20;

/** A VFIO container with the type 1 v2 IOMMU set. */
export class Type1Iommu implements Iommu {
  readonly memlockScope = "process";
  readonly pageSize: number;
  readonly usable: readonly IovaRange[];

  /** The fd stays the caller's. */
  constructor(
    private readonly kernel: Kernel,
    private readonly container: number,
    private readonly path: string,
  ) {
    const info = this.#info();
    const { flags, iova_pgsizes, cap_offset } = vfio_iommu_type1_info.read(info);
    const smallest = iova_pgsizes & -iova_pgsizes;
    const told = (flags & VFIO_IOMMU_INFO_PGSIZES) !== 0 && smallest > 0n;
    this.pageSize = told ? Math.max(Number(smallest), kernel.pageSize) : kernel.pageSize;
    const chain = flags & VFIO_IOMMU_INFO_CAPS ? cap_offset : 0;
    this.usable = iovaRanges(info, chain) ?? EVERYTHING;
  }

  map(iova: bigint, hva: bigint, size: bigint): void {
    const flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    const argsz = vfio_iommu_type1_dma_map.size;
    const request = vfio_iommu_type1_dma_map.alloc({ argsz, flags, vaddr: hva, iova, size });
    this.kernel.ioctl(this.container, "VFIO_IOMMU_MAP_DMA", request, this.path);
  }

  unmap(iova: bigint, size: bigint): bigint {
    const argsz = vfio_iommu_type1_dma_unmap.size;
    const request = vfio_iommu_type1_dma_unmap.alloc({ argsz, iova, size });
    this.kernel.ioctl(this.container, "VFIO_IOMMU_UNMAP_DMA", request, this.path);
    return vfio_iommu_type1_dma_unmap.read(request).size;
  }

  /** The capabilities come only with a buffer that is large enough; the first call tells its size. */
  #info(): Uint8Array {
    const get = (bytes: number) => {
      const info = new Uint8Array(new ArrayBuffer(bytes));
      vfio_iommu_type1_info.write(info, { argsz: bytes });
      this.kernel.ioctl(this.container, "VFIO_IOMMU_GET_INFO", info, this.path);
      return info;
    };
    const info = get(vfio_iommu_type1_info.size);
    const { argsz } = vfio_iommu_type1_info.read(info);
    return argsz > info.length && argsz <= LARGEST_INFO ? get(argsz) : info;
  }
}

function iovaRanges(info: Uint8Array, first: number): IovaRange[] | undefined {
  const cap = findCapability(info, first, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  const header = vfio_iommu_type1_info_cap_iova_range;
  if (!cap || cap.length < header.size) return undefined;
  const { nr_iovas } = header.read(cap);
  const ranges: IovaRange[] = [];
  for (let i = 0; i < nr_iovas; i++) {
    const at = header.size + i * vfio_iova_range.size;
    if (at + vfio_iova_range.size > cap.length) break;
    const { start, end } = vfio_iova_range.read(cap, at);
    ranges.push({ first: start, last: end });
  }
  return ranges.sort((a, b) => (a.first < b.first ? -1 : 1));
}
