import { ptr } from "bun:ffi";
import { struct, u32 } from "../ffi/struct.ts";
import { netdevIoctl } from "./netdev-ioctl.ts";

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GCHANNELS = 0x3c;

export const ethtool_channels = struct("ethtool_channels", {
  cmd: u32,
  max_rx: u32,
  max_tx: u32,
  max_other: u32,
  max_combined: u32,
  rx_count: u32,
  tx_count: u32,
  other_count: u32,
  combined_count: u32,
});

/**
 * The most queue pairs of a network interface, which sysfs does not show: it lists those that the driver uses now.
 * Undefined for an interface that is not there or does not say.
 */
export function maxCombinedChannels(netdev: string): number | undefined {
  const channels = ethtool_channels.alloc({ cmd: ETHTOOL_GCHANNELS });
  // SAFETY: the kernel writes to `channels`, ours and referenced below, only before the call returns.
  const ifr_data = new Uint8Array(new BigUint64Array([BigInt(ptr(channels))]).buffer);
  if (!netdevIoctl(netdev, SIOCETHTOOL, "ETHTOOL_GCHANNELS", ifr_data)) return undefined;
  return ethtool_channels.read(channels).max_combined || undefined;
}
