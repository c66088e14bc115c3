/** Numbers of the Virtio specification as the device side needs them; section numbers are those of virtio 1.3. */

/** Device status bits, §2.1. */
export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;
export const STATUS_FAILED = 128;

/** Feature bits, §5.1.3 (network) and §6 (all devices). */
export const F = {
  NET_MTU: 1n << 3n,
  NET_MAC: 1n << 5n,
  NET_MRG_RXBUF: 1n << 15n,
  NET_STATUS: 1n << 16n,
  NET_CTRL_VQ: 1n << 17n,
  NET_CTRL_RX: 1n << 18n,
  NET_MQ: 1n << 22n,
  NET_CTRL_MAC_ADDR: 1n << 23n,
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  ACCESS_PLATFORM: 1n << 33n,
  RING_PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
  RING_RESET: 1n << 40n,
} as const;

/** Descriptor flags, §2.7.5 and §2.8.1. */
export const DESC_NEXT = 1;
export const DESC_WRITE = 2;
export const DESC_INDIRECT = 4;
export const DESC_AVAIL = 1 << 7;
export const DESC_USED = 1 << 15;
export const DESC_SIZE = 16;

/** Event suppression of packed rings, §2.8.10. */
export const EVENT_ENABLE = 0;
export const EVENT_DISABLE = 1;
export const EVENT_DESC = 2;

/** No interrupt, §4.1.5.1.3. */
export const NO_VECTOR = 0xffff;

/** struct virtio_net_hdr, §5.1.6; `num_buffers` is always there on a VERSION_1 device. */
export const NET_HEADER = 12;
export const NET_HEADER_NUM_BUFFERS = 10;
