import { s32, struct, u16, u32, u64 } from "../ffi/struct.ts";

/** Structures of linux/vfio.h and linux/iommufd.h, without their flexible array members. */
export const vfio_group_status = struct("vfio_group_status", { argsz: u32, flags: u32 });
export const vfio_device_info = struct("vfio_device_info", {
  argsz: u32,
  flags: u32,
  num_regions: u32,
  num_irqs: u32,
  cap_offset: u32,
});
export const vfio_info_cap_header = struct("vfio_info_cap_header", { id: u16, version: u16, next: u32 });
export const vfio_region_info = struct("vfio_region_info", {
  argsz: u32,
  flags: u32,
  index: u32,
  cap_offset: u32,
  size: u64,
  offset: u64,
});
export const vfio_region_info_cap_sparse_mmap = struct("vfio_region_info_cap_sparse_mmap", {
  header: vfio_info_cap_header,
  nr_areas: u32,
  reserved: u32,
});
export const vfio_region_sparse_mmap_area = struct("vfio_region_sparse_mmap_area", {
  offset: u64,
  size: u64,
});
export const vfio_irq_info = struct("vfio_irq_info", { argsz: u32, flags: u32, index: u32, count: u32 });
export const vfio_irq_set = struct("vfio_irq_set", {
  argsz: u32,
  flags: u32,
  index: u32,
  start: u32,
  count: u32,
});
export const vfio_device_ioeventfd = struct("vfio_device_ioeventfd", {
  argsz: u32,
  flags: u32,
  offset: u64,
  data: u64,
  fd: s32,
});
export const vfio_iommu_type1_info = struct("vfio_iommu_type1_info", {
  argsz: u32,
  flags: u32,
  iova_pgsizes: u64,
  cap_offset: u32,
});
export const vfio_iommu_type1_info_cap_iova_range = struct("vfio_iommu_type1_info_cap_iova_range", {
  header: vfio_info_cap_header,
  nr_iovas: u32,
  reserved: u32,
});
export const vfio_iova_range = struct("vfio_iova_range", { start: u64, end: u64 });
export const vfio_iommu_type1_dma_map = struct("vfio_iommu_type1_dma_map", {
  argsz: u32,
  flags: u32,
  vaddr: u64,
  iova: u64,
  size: u64,
});
export const vfio_iommu_type1_dma_unmap = struct("vfio_iommu_type1_dma_unmap", {
  argsz: u32,
  flags: u32,
  iova: u64,
  size: u64,
});

export const vfio_device_bind_iommufd = struct("vfio_device_bind_iommufd", {
  argsz: u32,
  flags: u32,
  iommufd: s32,
  out_devid: u32,
});
export const vfio_device_attach_iommufd_pt = struct("vfio_device_attach_iommufd_pt", {
  argsz: u32,
  flags: u32,
  pt_id: u32,
});
export const iommu_ioas_alloc = struct("iommu_ioas_alloc", { size: u32, flags: u32, out_ioas_id: u32 });
export const iommu_ioas_iova_ranges = struct("iommu_ioas_iova_ranges", {
  size: u32,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
  out_iova_alignment: u64,
});
export const iommu_iova_range = struct("iommu_iova_range", { start: u64, last: u64 });
export const iommu_ioas_map = struct("iommu_ioas_map", {
  size: u32,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  user_va: u64,
  length: u64,
  iova: u64,
});
export const iommu_ioas_unmap = struct("iommu_ioas_unmap", {
  size: u32,
  ioas_id: u32,
  iova: u64,
  length: u64,
});
