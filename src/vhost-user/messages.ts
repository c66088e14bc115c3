import { struct, u8, u16, u32, u64 } from "../hw/ffi/struct.ts";

/** Structs on the wire, native endian. Names are the protocol's, or the kernel's where it has the struct. */

export const vhost_user_header = struct("vhost_user_header", { request: u32, flags: u32, size: u32 });

export const vhost_user_u64 = struct("vhost_user_u64", { u64: u64 });

export const vhost_vring_state = struct("vhost_vring_state", { index: u32, num: u32 });

export const vhost_vring_addr = struct("vhost_vring_addr", {
  index: u32,
  flags: u32,
  desc_user_addr: u64,
  used_user_addr: u64,
  avail_user_addr: u64,
  log_guest_addr: u64,
});

export const vhost_user_memory_region = struct("vhost_user_memory_region", {
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
  mmap_offset: u64,
});

/** Head of SET_MEM_TABLE; `nregions` regions follow. */
export const vhost_user_memory = struct("vhost_user_memory", { nregions: u32, padding: u32 });

export const vhost_user_mem_reg_msg = struct("vhost_user_mem_reg_msg", {
  padding: u64,
  region: vhost_user_memory_region,
});

export const vhost_user_log = struct("vhost_user_log", { mmap_size: u64, mmap_offset: u64 });

export const vhost_iotlb_msg = struct("vhost_iotlb_msg", {
  iova: u64,
  size: u64,
  uaddr: u64,
  perm: u8,
  type: u8,
});

/** Head of GET_CONFIG and SET_CONFIG; `size` bytes follow. */
export const vhost_user_config = struct("vhost_user_config", { offset: u32, size: u32, flags: u32 });

export const vhost_user_vring_area = struct("vhost_user_vring_area", { u64: u64, size: u64, offset: u64 });

export const vhost_user_inflight = struct("vhost_user_inflight", {
  mmap_size: u64,
  mmap_offset: u64,
  num_queues: u16,
  queue_size: u16,
});

export const vhost_user_transfer_device_state = struct("vhost_user_transfer_device_state", {
  direction: u32,
  phase: u32,
});
