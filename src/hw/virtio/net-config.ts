import { deviceError } from "./device-error.ts";
import {
  hasFeature,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_RSS,
  VIRTIO_NET_F_SPEED_DUPLEX,
  VIRTIO_NET_F_STATUS,
} from "./features.ts";
import { virtio_net_config } from "./registers.ts";
import type { VirtioTransport } from "./transport.ts";

export const VIRTIO_NET_S_LINK_UP = 1;

/** What a network device says about itself; a field is undefined where its feature is missing or it is unknown. */
export interface NetConfig {
  /** Six bytes. */
  readonly mac: Uint8Array | undefined;
  /** Bits: 1 link up, 2 announce. */
  readonly status: number | undefined;
  /** 1 without MQ and RSS. */
  readonly max_virtqueue_pairs: number;
  /** Bytes. */
  readonly mtu: number | undefined;
  /** Mbit/s. */
  readonly speed: number | undefined;
  readonly duplex: "half" | "full" | undefined;
}

const AT = virtio_net_config.offsets;
const DUPLEX = ["half", "full"] as const;
const MAX_PAIRS = 0x8000;

/**
 * Decodes the configuration of a network device (virtio 1.3 §5.1.4).
 * @param features the bits that decide which fields exist: those offered, or those negotiated
 */
export function readNetConfig(transport: VirtioTransport, features: bigint): NetConfig {
  // A device may end its configuration early; what is missing counts as not there.
  const size = Math.min(transport.configSize, usedBytes(features));
  const config = new Uint8Array(virtio_net_config.size);
  config.set(transport.readConfig(0, size));
  const values = virtio_net_config.read(config);
  const there = (bit: number, end: number) => hasFeature(features, bit) && end <= size;
  const pairsThere =
    there(VIRTIO_NET_F_MQ, AT.max_virtqueue_pairs + 2) || there(VIRTIO_NET_F_RSS, AT.max_virtqueue_pairs + 2);
  const pairs = pairsThere ? values.max_virtqueue_pairs : 1;
  if (pairs < 1 || pairs > MAX_PAIRS) {
    throw deviceError(transport.fn, `${pairs} queue pairs`, `max_virtqueue_pairs is from 1 to ${MAX_PAIRS}`);
  }
  const speedThere = there(VIRTIO_NET_F_SPEED_DUPLEX, AT.duplex + 1);
  return {
    mac: there(VIRTIO_NET_F_MAC, AT.mac + 6) ? values.mac : undefined,
    status: there(VIRTIO_NET_F_STATUS, AT.status + 2) ? values.status : undefined,
    max_virtqueue_pairs: pairs,
    mtu: there(VIRTIO_NET_F_MTU, AT.mtu + 2) ? values.mtu : undefined,
    // Anything above 0x7fffffff stands for unknown, as does a duplex other than 0 and 1.
    speed: speedThere && values.speed <= 0x7fffffff ? values.speed : undefined,
    duplex: speedThere ? DUPLEX[values.duplex] : undefined,
  };
}

/** Bytes up to the last field that the features call for: a legacy BAR ends nowhere in particular. */
function usedBytes(features: bigint): number {
  if (hasFeature(features, VIRTIO_NET_F_SPEED_DUPLEX)) return AT.duplex + 1;
  if (hasFeature(features, VIRTIO_NET_F_MTU)) return AT.mtu + 2;
  if (hasFeature(features, VIRTIO_NET_F_MQ) || hasFeature(features, VIRTIO_NET_F_RSS)) {
    return AT.max_virtqueue_pairs + 2;
  }
  return hasFeature(features, VIRTIO_NET_F_STATUS) ? AT.status + 2 : AT.mac + 6;
}
