import { closeSync, constants, openSync } from "node:fs";
import { basename, join } from "node:path";
import { isErrno } from "../ffi/errno.ts";
import { type Host, listDirectory, readAttribute } from "./host.ts";

/** What a disk and its partitions are used for. */
export function blockUses(directory: string, host: Host): string[] {
  const disk = basename(directory);
  const partitions = listDirectory(directory).filter((entry) => entry.startsWith(disk));
  const nodes = [directory, ...partitions.map((entry) => join(directory, entry))];
  const mounts = readMounts(host);
  const swaps = readSwaps(host);
  return nodes.flatMap((path) => {
    const name = basename(path);
    const number = readAttribute(join(path, "dev"));
    const uses = [
      ...mounts
        .filter(({ dev, source }) => dev === number || source === `/dev/${name}`)
        .map(({ point }) => `${name} is mounted on ${point}`),
      ...(swaps.includes(name) ? [`${name} is used as swap space`] : []),
      ...listDirectory(join(path, "holders")).map((holder) => `${holder} is built on ${name}`),
    ];
    if (uses.length === 0 && isClaimed(join(host.dev, name)))
      uses.push(`${name} is in use (mounted elsewhere?)`);
    return [...new Set(uses)];
  });
}

interface Mount {
  /** `major:minor`; file systems on several disks have numbers of their own. */
  readonly dev: string;
  readonly source: string;
  readonly point: string;
}

/** /proc/self/mountinfo (proc_pid_mountinfo(5)). */
function readMounts(host: Host): Mount[] {
  const lines = (readAttribute(join(host.proc, "self/mountinfo")) ?? "").split("\n");
  return lines.flatMap((line) => {
    const [left = "", right = ""] = line.split(" - ");
    const [, , dev, , point] = left.split(" ");
    const [, source = ""] = right.split(" ");
    return dev && point ? { dev, source: unescapeOctal(source), point: unescapeOctal(point) } : [];
  });
}

/** Blanks and backslashes are written as octal numbers. */
const unescapeOctal = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

function readSwaps(host: Host): string[] {
  const [, ...rows] = (readAttribute(join(host.proc, "swaps")) ?? "").split("\n");
  return rows.map((row) => basename(row.split(/\s+/)[0] ?? ""));
}

/**
 * Whether somebody has claimed a block device for himself: a mount in any namespace, swap, a device mapper. The
 * kernel then refuses O_EXCL (open(2)).
 */
function isClaimed(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK));
    return false;
  } catch (error) {
    return isErrno(error, "EBUSY");
  }
}
