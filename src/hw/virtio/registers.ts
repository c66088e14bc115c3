import { array, bytes, struct, u8, u16, u32, u64 } from "../ffi/struct.ts";

/** Common configuration structure (virtio 1.3 §4.1.4.3), with the kernel's field names. */
export const virtio_pci_common_cfg = struct("virtio_pci_common_cfg", {
  device_feature_select: u32,
  device_feature: u32,
  guest_feature_select: u32,
  guest_feature: u32,
  msix_config: u16,
  num_queues: u16,
  device_status: u8,
  config_generation: u8,
  queue_select: u16,
  queue_size: u16,
  queue_msix_vector: u16,
  queue_enable: u16,
  queue_notify_off: u16,
  queue_desc_lo: u32,
  queue_desc_hi: u32,
  queue_avail_lo: u32,
  queue_avail_hi: u32,
  queue_used_lo: u32,
  queue_used_hi: u32,
});

/** Fields that later versions added behind it; there only where the capability is long enough. */
export const VIRTIO_PCI_COMMON_Q_NDATA = 56;
export const VIRTIO_PCI_COMMON_Q_RESET = 58;

/** Legacy registers, all in BAR 0 (virtio 1.3 §4.1.4.10). */
export const VIRTIO_PCI_HOST_FEATURES = 0;
export const VIRTIO_PCI_GUEST_FEATURES = 4;
export const VIRTIO_PCI_QUEUE_PFN = 8;
export const VIRTIO_PCI_QUEUE_NUM = 12;
export const VIRTIO_PCI_QUEUE_SEL = 14;
export const VIRTIO_PCI_QUEUE_NOTIFY = 16;
export const VIRTIO_PCI_STATUS = 18;
export const VIRTIO_PCI_ISR = 19;
/** These two are there only while MSI-X is enabled; without it the device configuration begins at 20. */
export const VIRTIO_MSI_CONFIG_VECTOR = 20;
export const VIRTIO_MSI_QUEUE_VECTOR = 22;
export const VIRTIO_PCI_QUEUE_ADDR_SHIFT = 12;
export const VIRTIO_PCI_VRING_ALIGN = 4096;

/** Device configuration of a network device (virtio 1.3 §5.1.4). */
export const virtio_net_config = struct(
  "virtio_net_config",
  {
    mac: bytes(6),
    status: u16,
    max_virtqueue_pairs: u16,
    mtu: u16,
    speed: u32,
    duplex: u8,
    rss_max_key_size: u8,
    rss_max_indirection_table_length: u16,
    supported_hash_types: u32,
  },
  { packed: true },
);

/** Device configuration of a block device (virtio 1.3 §5.2.4) as far as the discard fields. */
export const virtio_blk_config = struct(
  "virtio_blk_config",
  {
    capacity: u64,
    size_max: u32,
    seg_max: u32,
    geometry: array(u8, 4),
    blk_size: u32,
    physical_block_exp: u8,
    alignment_offset: u8,
    min_io_size: u16,
    opt_io_size: u32,
    wce: u8,
    unused: u8,
    num_queues: u16,
  },
  { packed: true },
);
