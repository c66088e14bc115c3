import { deviceError } from "./device-error.ts";
import { hasFeature, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_MQ } from "./features.ts";
import { virtio_blk_config } from "./registers.ts";
import type { VirtioTransport } from "./transport.ts";

/** What a block device says about itself. */
export interface BlkConfig {
  /** Sectors of 512 bytes. */
  readonly capacity: bigint;
  /** Bytes; undefined where the device does not say. */
  readonly blk_size: number | undefined;
  /** 1 without MQ. */
  readonly num_queues: number;
}

const AT = virtio_blk_config.offsets;

/**
 * Decodes the configuration of a block device (virtio 1.3 §5.2.4).
 * @param features the bits that decide which fields exist: those offered, or those negotiated
 */
export function readBlkConfig(transport: VirtioTransport, features: bigint): BlkConfig {
  const size = Math.min(transport.configSize, virtio_blk_config.size);
  if (size < AT.capacity + 8) {
    throw deviceError(transport.fn, "no capacity", `its configuration has ${size} bytes`);
  }
  const config = new Uint8Array(virtio_blk_config.size);
  config.set(transport.readConfig(0, size));
  const values = virtio_blk_config.read(config);
  const there = (bit: number, end: number) => hasFeature(features, bit) && end <= size;
  const queues = there(VIRTIO_BLK_F_MQ, AT.num_queues + 2) ? values.num_queues : 1;
  if (queues < 1) throw deviceError(transport.fn, "no queues", "num_queues is 0");
  return {
    capacity: values.capacity,
    blk_size: there(VIRTIO_BLK_F_BLK_SIZE, AT.blk_size + 4) ? values.blk_size : undefined,
    num_queues: queues,
  };
}
