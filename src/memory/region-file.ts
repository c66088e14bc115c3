import { type BigIntStats, fstatSync } from "node:fs";
import { isErrno } from "../hw/ffi/errno.ts";
import { fdKind, sealSize } from "../hw/ffi/fd.ts";
import { MappedMemory } from "../hw/ffi/mmap.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { hex, nameOf, type RegionFd } from "./region.ts";

/** Which file an fd is, whatever its number: the same pair means the same memory while one of them is mapped. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** A map of a region's file. `delta` is the region's first byte in the map. */
export interface RegionMap {
  readonly memory: MappedMemory;
  readonly delta: number;
  /** The file can not shrink any more, so that no access to the map can raise SIGBUS. */
  readonly stable: boolean;
}

/** @throws OperatorError when the fd is nothing that can be mapped */
export function identify({ description, fd }: RegionFd): FileIdentity {
  const stat = statOf(fd);
  if (!stat.isFile() && !stat.isCharacterDevice()) {
    throw refused(description, `its fd is no memory file but ${fdKind(fd)}`);
  }
  return { dev: stat.dev, ino: stat.ino };
}

/** Maps a region's file read-write into this process. The fd stays the caller's and may be closed afterwards. */
export function mapRegionFile({ description, fd }: RegionFd): RegionMap {
  const { size, mmapOffset } = description;
  const stat = statOf(fd);
  // A device file (dax) has no size to check; the kernel refuses what it does not have.
  if (stat.isFile() && mmapOffset + size > stat.size) {
    throw refused(
      description,
      `offset ${hex(mmapOffset)} + size ${hex(size)} lie beyond the end of its file of ${hex(stat.size)} bytes`,
    );
  }
  // Files on hugetlbfs map and unmap in whole huge pages, which is their block size.
  const page = stat.blksize > 4096n ? stat.blksize : 4096n;
  const start = mmapOffset - (mmapOffset % page);
  const delta = mmapOffset - start;
  const length = ((delta + size + page - 1n) / page) * page;
  if (length > BigInt(Number.MAX_SAFE_INTEGER) || start > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw refused(description, `${hex(length)} bytes from offset ${hex(start)} can not be mapped`);
  }
  try {
    const memory = MappedMemory.map(fd, Number(length), Number(start), nameOf(description));
    return { memory, delta: Number(delta), stable: sealSize(fd) };
  } catch (error) {
    if (!isErrno(error, "EACCES", "EPERM")) throw error;
    throw refused(description, "its fd is not open read-write", error);
  }
}

const statOf = (fd: number): BigIntStats => fstatSync(fd, { bigint: true });

const refused = (description: RegionFd["description"], why: string, cause?: unknown) =>
  new OperatorError(`memory region ${nameOf(description)}`, { why, kind: "protocol", cause });
