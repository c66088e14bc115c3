import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { basename } from "node:path";
import { isErrno } from "../ffi/errno.ts";
import { maxCombinedChannels } from "./ethtool-channels.ts";
import { netdevAddresses } from "./netdev-addresses.ts";

/** Where this machine shows itself. Tests give directories of their own. */
export interface Host {
  /** `/sys` */
  readonly sys: string;
  /** `/proc` */
  readonly proc: string;
  /** `/dev` */
  readonly dev: string;
  /** `/run` */
  readonly run: string;
  /** `/etc` */
  readonly etc: string;
  /** Where lists of PCI names may be. */
  readonly pciIds: readonly string[];
  /** Addresses of a network interface, without link-local ones of IPv6. */
  addresses(netdev: string): string[];
  /** The most queue pairs that a network interface can have, where its driver says so. */
  maxQueuePairs(netdev: string): number | undefined;
}

export const HOST: Host = {
  sys: "/sys",
  proc: "/proc",
  dev: "/dev",
  run: "/run",
  etc: "/etc",
  pciIds: ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"],
  addresses: (netdev) => netdevAddresses(netdev),
  maxQueuePairs: maxCombinedChannels,
};

// A device or process may go away while it is looked at, and some files are root's: both read as "not there".
const ABSENT = ["ENOENT", "ENOTDIR", "EACCES", "EPERM", "ENODEV", "ENXIO", "EINVAL", "ESRCH", "EIO"];

function unlessAbsent<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isErrno(error, ...ABSENT)) return undefined;
    throw error;
  }
}

/** A small file's text without blanks around it; undefined when it is not there or may not be read. */
export function readAttribute(path: string): string | undefined {
  return unlessAbsent(() => readFileSync(path, "utf8").trim());
}

/** A file's bytes, as `readAttribute`. */
export function readBytes(path: string): Uint8Array | undefined {
  return unlessAbsent(() => new Uint8Array(readFileSync(path)));
}

/** At most `length` bytes from the start of a file, as `readAttribute`. */
export function readHead(path: string, length: number): Uint8Array | undefined {
  return unlessAbsent(() => {
    const fd = openSync(path, "r");
    try {
      const bytes = new Uint8Array(length);
      return bytes.subarray(0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  });
}

/** The last component of what a symbolic link points to. */
export function readLinkName(path: string): string | undefined {
  const target = readLink(path);
  return target === undefined ? undefined : basename(target);
}

export function readLink(path: string): string | undefined {
  return unlessAbsent(() => readlinkSync(path));
}

/** Names in a directory, sorted; none when it is not there. */
export function listDirectory(path: string): string[] {
  return unlessAbsent(() => readdirSync(path).sort()) ?? [];
}

/** A number that an attribute writes in decimal or 0x hexadecimal. */
export function readNumber(path: string): number | undefined {
  const text = readAttribute(path);
  const number = text ? Number(text) : Number.NaN;
  return Number.isFinite(number) ? number : undefined;
}
