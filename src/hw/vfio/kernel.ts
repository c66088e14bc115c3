import type { Pointer } from "bun:ffi";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { checked, SysError } from "../ffi/errno.ts";
import { closeFd, O_RDWR, openFd } from "../ffi/fd.ts";
import { libc } from "../ffi/libc.ts";
import { IOCTLS, type IoctlName } from "./uapi.ts";

const RLIMIT_MEMLOCK = 8;
const AT_PAGESZ = 6n;

/** An argument passed by value, or memory that stays referenced until the call returns. */
export type IoctlArgument = number | Uint8Array | Int32Array;

/** The system calls and files that VFIO needs; tests put a scripted kernel in its place. */
export interface Kernel {
  /** Opens a device node for reading and writing; the caller owns the fd. */
  open(path: string): number;
  close(fd: number): void;
  /** Throws a SysError that names the request and `path`, which tells the operator what the fd is. */
  ioctl(fd: number, request: IoctlName, argument: IoctlArgument, path: string): number;
  /** Throw a SysError when fewer bytes than asked for went through. */
  pread(fd: number, bytes: Uint8Array, offset: number, path: string): void;
  pwrite(fd: number, bytes: Uint8Array, offset: number, path: string): void;
  exists(path: string): boolean;
  /** Names in a folder; none when it does not exist. */
  list(path: string): string[];
  /** Last component of a link's target; undefined when there is no such link. */
  linkName(path: string): string | undefined;
  /** Whole target of a link; undefined when it can not be read. */
  linkTarget(path: string): string | undefined;
  /** Text of a file without the white space around it; undefined when it can not be read. */
  text(path: string): string | undefined;
  /** Bytes that this process may lock (RLIMIT_MEMLOCK), undefined for no limit. */
  memlockLimit(): bigint | undefined;
  /** Bytes of a page. */
  readonly pageSize: number;
}

/** The kernel that this process runs on. */
export const systemKernel: Kernel = {
  open: (path) => openFd(path, O_RDWR),
  close: closeFd,
  ioctl(fd, request, argument, path) {
    // SAFETY: a number is an argument by value that the driver takes as such; memory is referenced by the caller.
    const pointer = typeof argument === "number" ? (argument as Pointer) : argument;
    return checked(libc.ioctl(fd, IOCTLS[request], pointer), `ioctl ${request}`, path);
  },
  pread(fd, bytes, offset, path) {
    whole(checked(libc.pread(fd, bytes, bytes.byteLength, offset), "pread", path), bytes, "pread", path);
  },
  pwrite(fd, bytes, offset, path) {
    whole(checked(libc.pwrite(fd, bytes, bytes.byteLength, offset), "pwrite", path), bytes, "pwrite", path);
  },
  exists: existsSync,
  list: (path) => unlessMissing(() => readdirSync(path)) ?? [],
  linkName: (path) => unlessMissing(() => basename(readlinkSync(path))),
  linkTarget: (path) => unlessMissing(() => readlinkSync(path)),
  text: (path) => unlessMissing(() => readFileSync(path, "utf8").trim()),
  memlockLimit() {
    const limits = new BigUint64Array(2);
    checked(libc.getrlimit(RLIMIT_MEMLOCK, limits), "getrlimit RLIMIT_MEMLOCK");
    return limits[0] === 2n ** 64n - 1n ? undefined : limits[0];
  },
  pageSize: readPageSize(),
};

function whole(done: number, bytes: Uint8Array, call: string, path: string): void {
  if (done !== bytes.byteLength) {
    const why = `${done} of ${bytes.byteLength} bytes went through`;
    throw new SysError(call, 5, path, { why });
  }
}

function unlessMissing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    // Gone, or not ours to read: either way it says nothing.
    return undefined;
  }
}

/** The kernel tells each process its page size in the auxiliary vector: pairs of 64-bit type and value. */
function readPageSize(): number {
  const auxv = readFileSync("/proc/self/auxv");
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (auxv.readBigUInt64LE(at) === AT_PAGESZ) return Number(auxv.readBigUInt64LE(at + 8));
  }
  return 4096;
}
