import { readlinkSync } from "node:fs";
import { checked, E, SysError } from "./errno.ts";
import { cString, lastErrno, libc } from "./libc.ts";

export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_CLOEXEC = 0o2000000;
export const O_NONBLOCK = 0o4000;

const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

/** Opens a path; the caller owns the returned fd. */
export function openFd(path: string, flags: number): number {
  return checked(libc.open(cString(path), flags | O_CLOEXEC, 0), "open", path);
}

/** Closes an fd that the caller owns. Negative numbers ("none") are ignored. */
export function closeFd(fd: number): void {
  if (fd >= 0) checked(libc.close(fd), "close");
}

/** A second fd for the same open file; the caller owns it. */
export function dupFd(fd: number): number {
  return checked(libc.fcntl(fd, F_DUPFD_CLOEXEC, 3), "fcntl F_DUPFD_CLOEXEC");
}

/** What the kernel says an fd is: a path, `anon_inode:[eventfd]`, `socket:[123]`, `/memfd:name (deleted)`. */
export function fdKind(fd: number): string {
  return readlinkSync(`/proc/self/fd/${fd}`);
}

/** Whether an fd is an eventfd. */
export function isEventfd(fd: number): boolean {
  return fdKind(fd) === "anon_inode:[eventfd]";
}

export function setNonBlocking(fd: number): void {
  const flags = checked(libc.fcntl(fd, F_GETFL, 0), "fcntl F_GETFL");
  checked(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl F_SETFL");
}

/** Keeps an inherited fd from programs that this process starts. */
export function setCloseOnExec(fd: number): void {
  checked(libc.fcntl(fd, F_SETFD, FD_CLOEXEC), "fcntl F_SETFD");
}

/** Anonymous shared memory of `size` bytes, all zero; the caller owns the fd. */
export function memfd(name: string, size: number): number {
  const fd = checked(libc.memfd_create(cString(name), MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create");
  checked(libc.ftruncate(fd, size), "ftruncate", name);
  return fd;
}

/**
 * Seals a memfd against shrinking and growing, so that accesses to a map of it can never raise SIGBUS.
 * @returns whether it is sealed now; files other than sealable memfds are not
 */
export function sealSize(fd: number): boolean {
  if (libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) === 0) return true;
  const seals = libc.fcntl(fd, F_GET_SEALS, 0);
  return seals >= 0 && (seals & F_SEAL_SHRINK) !== 0;
}

export const POLLIN = 1;
export const POLLOUT = 4;
// struct pollfd: s32 fd, s16 events, s16 revents.
const pollfd = new Int32Array(new ArrayBuffer(8));

/** Whether an fd is readable (`POLLIN`) or writable (`POLLOUT`) now, or within `timeoutMs` (a signal ends that wait). */
export function isReady(fd: number, events: number, timeoutMs = 0): boolean {
  pollfd[0] = fd;
  pollfd[1] = events;
  return libc.poll(pollfd, 1, timeoutMs) === 1;
}

/** Reads into `bytes`; the number read, 0 at the end of the file, or undefined if it would block. */
export function readFd(fd: number, bytes: Uint8Array, what = "fd"): number | undefined {
  for (;;) {
    const n = Number(libc.read(fd, bytes, bytes.byteLength));
    if (n >= 0) return n;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno !== E.EINTR) throw new SysError("read", errno, what);
  }
}

/** Writes all of `bytes` to a regular file or blocking fd. */
export function writeFd(fd: number, bytes: Uint8Array, what = "fd"): void {
  for (let done = 0; done < bytes.byteLength; ) {
    const n = Number(libc.write(fd, bytes.subarray(done), bytes.byteLength - done));
    if (n >= 0) done += n;
    else if (lastErrno() !== E.EINTR) throw new SysError("write", lastErrno(), what);
  }
}
