import { ptr } from "bun:ffi";
import { isErrno } from "../ffi/errno.ts";
import type { IovaRange } from "../pci-function.ts";
import { IOMMUFD_PATH } from "./host.ts";
import type { Iommu } from "./iommu.ts";
import type { Kernel } from "./kernel.ts";
import {
  iommu_ioas_alloc,
  iommu_ioas_iova_ranges,
  iommu_ioas_map,
  iommu_ioas_unmap,
  iommu_iova_range,
} from "./structs.ts";
import { IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE } from "./uapi.ts";

const FIRST_GUESS = 16;

/** Makes an empty I/O address space and returns its id; it lives until the iommufd is closed. */
export function allocateIoas(kernel: Kernel, iommufd: number): number {
  const request = iommu_ioas_alloc.alloc({ size: iommu_ioas_alloc.size });
  kernel.ioctl(iommufd, "IOMMU_IOAS_ALLOC", request, IOMMUFD_PATH);
  return iommu_ioas_alloc.read(request).out_ioas_id;
}

/** An I/O address space of iommufd that the device is attached to. */
export class IommufdIommu implements Iommu {
  /** The default of IOMMU_OPTION_RLIMIT_MODE, which only root may change (linux/iommufd.h). */
  readonly memlockScope = "user";
  readonly pageSize: number;
  readonly usable: readonly IovaRange[];

  /** The fd stays the caller's. Attach the device first: it narrows the usable ranges. */
  constructor(
    private readonly kernel: Kernel,
    private readonly iommufd: number,
    private readonly ioasId: number,
  ) {
    const { ranges, alignment } = this.#ranges();
    this.usable = ranges;
    // The alignment may be as small as 1; memory comes in pages all the same.
    this.pageSize = Math.max(Number(alignment), kernel.pageSize);
  }

  map(iova: bigint, hva: bigint, size: bigint): void {
    const request = iommu_ioas_map.alloc({
      size: iommu_ioas_map.size,
      flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      ioas_id: this.ioasId,
      user_va: hva,
      length: size,
      iova,
    });
    this.kernel.ioctl(this.iommufd, "IOMMU_IOAS_MAP", request, IOMMUFD_PATH);
  }

  unmap(iova: bigint, size: bigint): bigint {
    const request = iommu_ioas_unmap.alloc({
      size: iommu_ioas_unmap.size,
      ioas_id: this.ioasId,
      iova,
      length: size,
    });
    this.kernel.ioctl(this.iommufd, "IOMMU_IOAS_UNMAP", request, IOMMUFD_PATH);
    return iommu_ioas_unmap.read(request).length;
  }

  #ranges(): { ranges: IovaRange[]; alignment: bigint } {
    for (let room = FIRST_GUESS; ; ) {
      const list = new Uint8Array(new ArrayBuffer(room * iommu_iova_range.size));
      const request = iommu_ioas_iova_ranges.alloc({
        size: iommu_ioas_iova_ranges.size,
        ioas_id: this.ioasId,
        num_iovas: room,
        // SAFETY: the kernel writes to `list` during the call only, and `list` is read after it.
        allowed_iovas: BigInt(ptr(list)),
      });
      try {
        this.kernel.ioctl(this.iommufd, "IOMMU_IOAS_IOVA_RANGES", request, IOMMUFD_PATH);
      } catch (error) {
        const wanted = iommu_ioas_iova_ranges.read(request).num_iovas;
        if (!isErrno(error, "EMSGSIZE") || wanted <= room) throw error;
        room = wanted;
        continue;
      }
      const { num_iovas, out_iova_alignment } = iommu_ioas_iova_ranges.read(request);
      const ranges = Array.from({ length: Math.min(num_iovas, room) }, (_, i) => {
        const { start, last } = iommu_iova_range.read(list, i * iommu_iova_range.size);
        return { first: start, last };
      });
      return { ranges: ranges.sort((a, b) => (a.first < b.first ? -1 : 1)), alignment: out_iova_alignment };
    }
  }
}
