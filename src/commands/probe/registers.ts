import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import { VIRTIO_BLK, VIRTIO_NET } from "../../hw/pci/virtio-id.ts";
import { openVfio } from "../../hw/vfio/open.ts";
import { readBlkConfig } from "../../hw/virtio/blk-config.ts";
import { hasFeature, VIRTIO_NET_F_CTRL_VQ } from "../../hw/virtio/features.ts";
import { readNetConfig, VIRTIO_NET_S_LINK_UP } from "../../hw/virtio/net-config.ts";
import { openVirtio } from "../../hw/virtio/open.ts";
import type { VirtioTransport } from "../../hw/virtio/transport.ts";
import type { DeviceRecord } from "./record.ts";

/** What the registers of a device say. */
export interface Registers {
  /** Feature bits that it offers. */
  readonly features: bigint;
  /** Virtqueues, with the control queue. */
  readonly queues: number;
  /** Most entries of the first virtqueue. */
  readonly queueSize: number;
  readonly config: DeviceRecord["config"];
}

/** Reads the registers of a free device, or tells why that is not possible. */
export type RegisterReader = (bdf: string) => Registers | { readonly problem: string };

/** Opens a device through VFIO for as long as it takes to read its registers; no driver handshake is begun. */
export const vfioRegisterReader =
  (log: Log): RegisterReader =>
  (bdf) => {
    try {
      const fn = openVfio(bdf, { log });
      try {
        return readRegisters(openVirtio(fn, log));
      } finally {
        fn.close();
      }
    } catch (error) {
      return { problem: messageOf(error) };
    }
  };

export function readRegisters(transport: VirtioTransport): Registers {
  const features = transport.deviceFeatures();
  const config = readConfig(transport, features);
  const pairs = transport.deviceType === VIRTIO_NET ? config?.["max_virtqueue_pairs"] : undefined;
  // Before MQ is accepted QEMU's num_queues tells of one pair only, so a network device's queues are computed
  // (virtio 1.3 §5.1.2).
  const queues =
    typeof pairs === "number"
      ? 2 * pairs + (hasFeature(features, VIRTIO_NET_F_CTRL_VQ) ? 1 : 0)
      : transport.numQueues;
  return { features, queues, queueSize: transport.maxQueueSize(0), config };
}

function readConfig(transport: VirtioTransport, features: bigint): DeviceRecord["config"] {
  if (transport.deviceType === VIRTIO_NET) {
    const { mac, mtu, max_virtqueue_pairs, status, speed, duplex } = readNetConfig(transport, features);
    return {
      mac: mac ? [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":") : null,
      mtu: mtu ?? null,
      max_virtqueue_pairs,
      link: status === undefined ? null : status & VIRTIO_NET_S_LINK_UP ? "up" : "down",
      speed_mbps: speed ?? null,
      duplex: duplex ?? null,
    };
  }
  if (transport.deviceType !== VIRTIO_BLK) return null;
  const { capacity, blk_size, num_queues } = readBlkConfig(transport, features);
  return { capacity_bytes: Number(capacity) * 512, block_size: blk_size ?? null, num_queues };
}
