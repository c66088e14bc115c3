import { array, struct, u8, u16 } from "../ffi/struct.ts";
import type { SimConfig } from "./sim-options.ts";
import { F } from "./virtio.ts";

/** struct virtio_net_config up to mtu, virtio 1.3 §5.1.4. */
export const virtioNetConfig = struct("virtio_net_config", {
  mac: array(u8, 6),
  status: u16,
  max_virtqueue_pairs: u16,
  mtu: u16,
});

export const NET_CONFIG_SIZE = virtioNetConfig.size;
const LINK_UP = 1;

/** The device-specific configuration as a driver reads it. */
export function netConfig(config: SimConfig): Uint8Array {
  const mac = config.mac.split(":").map((byte) => Number.parseInt(byte, 16));
  return virtioNetConfig.alloc({
    mac,
    status: LINK_UP,
    max_virtqueue_pairs: config.pairs,
    mtu: config.mtu,
  });
}

/** What the device offers. */
export function offeredFeatures(config: SimConfig): bigint {
  const always =
    F.VERSION_1 | F.ACCESS_PLATFORM | F.RING_PACKED | F.RING_RESET | F.INDIRECT_DESC | F.EVENT_IDX;
  const net = F.NET_MAC | F.NET_STATUS | F.NET_MTU | F.NET_MRG_RXBUF;
  const control = F.NET_CTRL_VQ | F.NET_CTRL_RX | F.NET_CTRL_MAC_ADDR;
  const optional = (config.pairs > 1 ? F.NET_MQ : 0n) | (config.inOrder ? F.IN_ORDER : 0n);
  return (always | net | control | optional) & ~config.withhold;
}

/**
 * Why a driver's selection is refused, undefined when it is not: a bit that was not offered, one without what it
 * needs (§5.1.3.1), or no VERSION_1 or ACCESS_PLATFORM, which the device insists on (§6.2).
 */
export function featureProblem(offered: bigint, chosen: bigint): string | undefined {
  if (chosen & ~offered) return `feature bits 0x${(chosen & ~offered).toString(16)} were not offered`;
  if (!(chosen & F.VERSION_1)) return "VERSION_1 was not accepted";
  if (!(chosen & F.ACCESS_PLATFORM) && offered & F.ACCESS_PLATFORM) return "ACCESS_PLATFORM was not accepted";
  const needControl = chosen & (F.NET_MQ | F.NET_CTRL_RX | F.NET_CTRL_MAC_ADDR);
  if (needControl && !(chosen & F.NET_CTRL_VQ)) return "a control feature was accepted without CTRL_VQ";
  return undefined;
}
