import { readFileSync } from "node:fs";
import { checked, isErrno } from "../ffi/errno.ts";
import { closeFd, O_CLOEXEC } from "../ffi/fd.ts";
import { libc } from "../ffi/libc.ts";
import { bytes, struct, u16 } from "../ffi/struct.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCGIFADDR = 0x8915;
const IFNAMSIZ = 16;

/** struct ifreq with a sockaddr_in (netdevice(7)). */
const ifreq = struct("ifreq", {
  ifr_name: bytes(IFNAMSIZ),
  sin_family: u16,
  sin_port: u16,
  sin_addr: bytes(4),
  rest: bytes(16),
});

/**
 * Addresses of a network interface: the first one of IPv4, and all of IPv6 but the link-local ones.
 * os.networkInterfaces() would leave out interfaces that have no carrier.
 */
export function netdevAddresses(netdev: string, inet6 = "/proc/net/if_inet6"): string[] {
  return [...ipv4Address(netdev), ...ipv6Addresses(netdev, inet6)];
}

function ipv4Address(netdev: string): string[] {
  const name = Buffer.from(netdev);
  if (name.length >= IFNAMSIZ) return [];
  const ifr_name = new Uint8Array(IFNAMSIZ);
  ifr_name.set(name);
  const request = ifreq.alloc({ ifr_name, sin_family: AF_INET });
  const socket = checked(libc.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0), "socket");
  try {
    checked(libc.ioctl(socket, SIOCGIFADDR, request), "ioctl SIOCGIFADDR", netdev);
    return [ifreq.read(request).sin_addr.join(".")];
  } catch (error) {
    if (isErrno(error, "EADDRNOTAVAIL", "ENODEV")) return [];
    throw error;
  } finally {
    closeFd(socket);
  }
}

/** Lines of 32 hexadecimal digits, interface number, prefix length, scope, flags and name. */
function ipv6Addresses(netdev: string, path: string): string[] {
  let table: string;
  try {
    table = readFileSync(path, "utf8");
  } catch (error) {
    // A kernel without IPv6.
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
  return table
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([digits = "", , , , , name]) => name === netdev && !/^fe[89ab]/.test(digits))
    .map(([digits = "", , prefix = ""]) => `${ipv6Text(digits)}/${Number.parseInt(prefix, 16)}`);
}

/** 32 hexadecimal digits in the usual short form. */
export function ipv6Text(digits: string): string {
  return new URL(`http://[${digits.replace(/(.{4})(?=.)/g, "$1:")}]`).hostname.slice(1, -1);
}
