import { readFileSync } from "node:fs";
import { isErrno } from "../ffi/errno.ts";
import { netdevIoctl } from "./netdev-ioctl.ts";

const AF_INET = 2;
const SIOCGIFADDR = 0x8915;

/**
 * Addresses of a network interface: the first one of IPv4, and all of IPv6 but the link-local ones.
 * os.networkInterfaces() would leave out interfaces that have no carrier.
 */
export function netdevAddresses(netdev: string, inet6 = "/proc/net/if_inet6"): string[] {
  return [...ipv4Address(netdev), ...ipv6Addresses(netdev, inet6)];
}

function ipv4Address(netdev: string): string[] {
  // The union holds a sockaddr_in: family, port, then the address.
  const sockaddr = netdevIoctl(netdev, SIOCGIFADDR, "SIOCGIFADDR", Uint8Array.of(AF_INET, 0));
  return sockaddr ? [sockaddr.subarray(4, 8).join(".")] : [];
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
