import { ptr } from "bun:ffi";
import { checked, isErrno } from "../ffi/errno.ts";
import { closeFd, O_CLOEXEC } from "../ffi/fd.ts";
import { libc } from "../ffi/libc.ts";
import { bytes, struct, u32, u64 } from "../ffi/struct.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GCHANNELS = 0x3c;
/** Longest name of an interface with its NUL. */
const IFNAMSIZ = 16;

/** struct ifreq with the member that ethtool uses. */
export const ifreq = struct("ifreq", { ifr_name: bytes(IFNAMSIZ), ifr_data: u64, rest: bytes(16) });
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
  const name = Buffer.from(netdev);
  if (name.length >= IFNAMSIZ) return undefined;
  const channels = ethtool_channels.alloc({ cmd: ETHTOOL_GCHANNELS });
  const ifr_name = new Uint8Array(IFNAMSIZ);
  ifr_name.set(name);
  const socket = checked(libc.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0), "socket");
  try {
    // SAFETY: the kernel writes to `channels`, ours and referenced below, only before the call returns.
    const request = ifreq.alloc({ ifr_name, ifr_data: BigInt(ptr(channels)) });
    checked(libc.ioctl(socket, SIOCETHTOOL, request), "ioctl ETHTOOL_GCHANNELS", netdev);
    return ethtool_channels.read(channels).max_combined || undefined;
  } catch (error) {
    if (isErrno(error, "ENODEV", "EOPNOTSUPP", "EPERM", "EINVAL")) return undefined;
    throw error;
  } finally {
    closeFd(socket);
  }
}
