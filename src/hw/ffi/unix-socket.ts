import { ptr } from "bun:ffi";
import { fchmodSync } from "node:fs";
import { OperatorError } from "../operator-error.ts";
import { checked, E, SysError } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";
import { s32, struct, u32, u64 } from "./struct.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_PEERCRED = 17;
const MSG_CTRUNC = 0x08;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const CMSG_HEADER = 16;
/** The most fds the kernel lets one message carry (SCM_MAX_FD). */
const SCM_MAX_FD = 253;
/** Longest socket path in bytes; sun_path has 108 with its NUL. */
export const SUN_PATH_MAX = 107;

export const iovec = struct("iovec", { iov_base: u64, iov_len: u64 });
export const msghdr = struct("msghdr", {
  msg_name: u64,
  msg_namelen: u32,
  msg_iov: u64,
  msg_iovlen: u64,
  msg_control: u64,
  msg_controllen: u64,
  msg_flags: s32,
});
export const cmsghdr = struct("cmsghdr", { cmsg_len: u64, cmsg_level: s32, cmsg_type: s32 });
export const ucred = struct("ucred", { pid: s32, uid: u32, gid: u32 });

function sockaddr(path: string): Uint8Array {
  const name = Buffer.from(path, "utf8");
  if (name.length === 0 || name.length > SUN_PATH_MAX || name.includes(0)) {
    throw new OperatorError(`socket path of ${name.length} bytes`, {
      why: `a Unix socket path has 1 to ${SUN_PATH_MAX} bytes`,
      remedy: "choose a shorter path, for example under /run",
      kind: "usage",
    });
  }
  const address = new Uint8Array(2 + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

const newSocket = () => checked(libc.socket(AF_UNIX, SOCK_STREAM | O_CLOEXEC | O_NONBLOCK, 0), "socket");

/**
 * Binds and listens; the caller owns the fd (non-blocking) and removes the path.
 * @param mode permissions of the file from its first moment, less the umask (which a worker can not change)
 */
export function listenUnix(path: string, mode = 0o600, backlog = 16): number {
  const address = sockaddr(path);
  const fd = newSocket();
  try {
    // A socket's file takes the mode that the socket has when it is bound.
    fchmodSync(fd, mode);
    checked(libc.bind(fd, address, address.length), "bind", path);
    checked(libc.listen(fd, backlog), "listen", path);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Accepts one connection (non-blocking fd, the caller's), or undefined when none waits. */
export function acceptUnix(listenFd: number): number | undefined {
  for (;;) {
    const fd = libc.accept4(listenFd, null, null, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) return fd;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno !== E.EINTR && errno !== E.ECONNABORTED) throw new SysError("accept4", errno);
  }
}

/** Connects (non-blocking fd, the caller's); throws SysError ENOENT, ECONNREFUSED, EAGAIN when nobody listens. */
export function connectUnix(path: string): number {
  const address = sockaddr(path);
  const fd = newSocket();
  if (libc.connect(fd, address, address.length) < 0) {
    const error = new SysError("connect", lastErrno(), path);
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** A connected pair of non-blocking stream sockets; the caller owns both. */
export function unixSocketPair(): [number, number] {
  const fds = new Int32Array(2);
  checked(libc.socketpair(AF_UNIX, SOCK_STREAM | O_CLOEXEC | O_NONBLOCK, 0, fds), "socketpair");
  return [fds[0]!, fds[1]!];
}

/** Process, user and group id of a connected peer. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const credentials = ucred.alloc();
  checked(
    libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, new Uint32Array([ucred.size])),
    "getsockopt",
  );
  return ucred.read(credentials);
}

export interface Received {
  /** Bytes placed in the buffer; 0 means that the peer has closed. */
  readonly bytes: number;
  /** Fds that arrived with them, all the caller's to close, with close-on-exec set. */
  readonly fds: number[];
  /** Some fds were lost (MSG_CTRUNC), for example because this process has no number left for them. */
  readonly truncated: boolean;
}

/** Receives into `into` without blocking; undefined when nothing is there. */
export function receiveWithFds(fd: number, into: Uint8Array): Received | undefined {
  const control = new Uint8Array(new ArrayBuffer(CMSG_HEADER + SCM_MAX_FD * 4 + 4));
  const iov = iovec.alloc({ iov_base: BigInt(ptr(into)), iov_len: BigInt(into.byteLength) });
  const header = msghdr.alloc({
    msg_iov: BigInt(ptr(iov)),
    msg_iovlen: 1n,
    msg_control: BigInt(ptr(control)),
    msg_controllen: BigInt(control.byteLength),
  });
  let n: number;
  for (;;) {
    n = Number(libc.recvmsg(fd, header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
    if (n >= 0) break;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno === E.ECONNRESET) return { bytes: 0, fds: [], truncated: false };
    if (errno !== E.EINTR) throw new SysError("recvmsg", errno);
  }
  const { msg_controllen, msg_flags } = msghdr.read(header);
  return {
    bytes: n,
    fds: passedFds(control.subarray(0, Number(msg_controllen))),
    truncated: (msg_flags & MSG_CTRUNC) !== 0,
  };
}

function passedFds(control: Uint8Array): number[] {
  const fds: number[] = [];
  for (let at = 0; at + CMSG_HEADER <= control.byteLength; ) {
    const { cmsg_len, cmsg_level, cmsg_type } = cmsghdr.read(control, at);
    const length = Number(cmsg_len);
    if (length < CMSG_HEADER) break;
    if (cmsg_level === SOL_SOCKET && cmsg_type === SCM_RIGHTS) {
      const view = new DataView(control.buffer, control.byteOffset);
      for (let o = at + CMSG_HEADER; o + 4 <= at + length; o += 4) fds.push(view.getInt32(o, true));
    }
    at += (length + 7) & ~7;
  }
  return fds;
}

/**
 * Sends bytes and fds without blocking; the fds stay the caller's.
 * @returns how many bytes the kernel took (the fds went with the first), or undefined if it would block
 */
export function sendWithFds(fd: number, data: Uint8Array, fds: readonly number[] = []): number | undefined {
  const iov = iovec.alloc({ iov_base: BigInt(ptr(data)), iov_len: BigInt(data.byteLength) });
  const header = msghdr.alloc({ msg_iov: BigInt(ptr(iov)), msg_iovlen: 1n });
  const control = new Uint8Array(new ArrayBuffer((CMSG_HEADER + fds.length * 4 + 7) & ~7));
  if (fds.length > 0) {
    const length = BigInt(CMSG_HEADER + fds.length * 4);
    cmsghdr.write(control, { cmsg_len: length, cmsg_level: SOL_SOCKET, cmsg_type: SCM_RIGHTS });
    const numbers = new DataView(control.buffer, CMSG_HEADER);
    for (const [i, n] of fds.entries()) numbers.setInt32(i * 4, n, true);
    msghdr.write(header, { msg_control: BigInt(ptr(control)), msg_controllen: BigInt(control.byteLength) });
  }
  for (;;) {
    const n = Number(libc.sendmsg(fd, header, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n >= 0) return n;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno !== E.EINTR) throw new SysError("sendmsg", errno);
  }
}
