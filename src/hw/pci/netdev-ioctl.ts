import { checked, isErrno } from "../ffi/errno.ts";
import { closeFd, O_CLOEXEC } from "../ffi/fd.ts";
import { libc } from "../ffi/libc.ts";
import { bytes, struct } from "../ffi/struct.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
/** Longest name of an interface with its NUL. */
const IFNAMSIZ = 16;

/** struct ifreq (netdevice(7)); `ifr_ifru` is its union. */
export const ifreq = struct("ifreq", { ifr_name: bytes(IFNAMSIZ), ifr_ifru: bytes(24) });

/**
 * One ioctl on a network interface.
 * @param ifr_ifru what the union holds, from its first byte
 * @returns the union afterwards, or undefined where the interface is not there or has no answer
 */
export function netdevIoctl(
  netdev: string,
  request: number,
  name: string,
  ifr_ifru: Uint8Array,
): Uint8Array | undefined {
  const bytesOfName = Buffer.from(netdev);
  if (bytesOfName.length >= IFNAMSIZ) return undefined;
  const ifr_name = new Uint8Array(IFNAMSIZ);
  ifr_name.set(bytesOfName);
  const argument = ifreq.alloc({ ifr_name, ifr_ifru });
  const socket = checked(libc.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0), "socket");
  try {
    checked(libc.ioctl(socket, request, argument), `ioctl ${name}`, netdev);
    return ifreq.read(argument).ifr_ifru;
  } catch (error) {
    if (isErrno(error, "ENODEV", "EADDRNOTAVAIL", "EOPNOTSUPP", "EPERM", "EINVAL")) return undefined;
    throw error;
  } finally {
    closeFd(socket);
  }
}
