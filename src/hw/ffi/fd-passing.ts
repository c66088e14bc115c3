import { ptr } from "bun:ffi";
import { E, SysError } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";
import { s32, struct, u32, u64 } from "./struct.ts";

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x08;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** The most fds the kernel lets one message carry (SCM_MAX_FD). */
const SCM_MAX_FD = 253;

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

export interface Received {
  /** Bytes placed in the buffer; 0 means that the peer has closed. */
  readonly bytes: number;
  /** Fds that arrived with them, all the caller's to close, with close-on-exec set. */
  readonly fds: number[];
  /** Some fds were lost (MSG_CTRUNC), for example because this process has no number left for them. */
  readonly truncated: boolean;
}

/**
 * What recvmsg and sendmsg are given, one set per thread, used by one call at a time.
 * SAFETY: addresses inside a struct do not keep their memory alive, and a collection between `ptr` and the call
 * would free it. These live as long as the module; `held` keeps the caller's buffer until the next call.
 */
const control = new Uint8Array(new ArrayBuffer(cmsghdr.size + SCM_MAX_FD * 4 + 4));
const iov = iovec.alloc();
const header = msghdr.alloc();
const CONTROL_ADDRESS = BigInt(ptr(control));
const IOV_ADDRESS = BigInt(ptr(iov));
let held: Uint8Array | undefined;

function prepare(data: Uint8Array, controlLength: number): void {
  held = data;
  iovec.write(iov, { iov_base: BigInt(ptr(held)), iov_len: BigInt(held.byteLength) });
  msghdr.write(header, {
    msg_iov: IOV_ADDRESS,
    msg_iovlen: 1n,
    msg_control: controlLength > 0 ? CONTROL_ADDRESS : 0n,
    msg_controllen: BigInt(controlLength),
    msg_flags: 0,
  });
}

/** Receives into `into` without blocking; undefined when nothing is there. */
export function receiveWithFds(fd: number, into: Uint8Array): Received | undefined {
  for (;;) {
    prepare(into, control.byteLength);
    const n = Number(libc.recvmsg(fd, header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
    if (n >= 0) {
      const { msg_controllen, msg_flags } = msghdr.read(header);
      return { bytes: n, fds: passedFds(Number(msg_controllen)), truncated: (msg_flags & MSG_CTRUNC) !== 0 };
    }
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno === E.ECONNRESET) return { bytes: 0, fds: [], truncated: false };
    if (errno !== E.EINTR) throw new SysError("recvmsg", errno);
  }
}

function passedFds(length: number): number[] {
  const fds: number[] = [];
  const view = new DataView(control.buffer);
  for (let at = 0; at + cmsghdr.size <= length; ) {
    const { cmsg_len, cmsg_level, cmsg_type } = cmsghdr.read(control, at);
    const end = at + Number(cmsg_len);
    if (end < at + cmsghdr.size) break;
    if (cmsg_level === SOL_SOCKET && cmsg_type === SCM_RIGHTS) {
      for (let o = at + cmsghdr.size; o + 4 <= end; o += 4) fds.push(view.getInt32(o, true));
    }
    at = (end + 7) & ~7;
  }
  return fds;
}

/**
 * Sends bytes and fds without blocking; the fds stay the caller's.
 * @returns how many bytes the kernel took (the fds went with the first), or undefined if it would block
 */
export function sendWithFds(fd: number, data: Uint8Array, fds: readonly number[] = []): number | undefined {
  const length = fds.length === 0 ? 0 : cmsghdr.size + fds.length * 4;
  if (length > 0) {
    cmsghdr.write(control, { cmsg_len: BigInt(length), cmsg_level: SOL_SOCKET, cmsg_type: SCM_RIGHTS });
    const view = new DataView(control.buffer, cmsghdr.size);
    for (const [i, n] of fds.entries()) view.setInt32(i * 4, n, true);
  }
  for (;;) {
    prepare(data, (length + 7) & ~7);
    const n = Number(libc.sendmsg(fd, header, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n >= 0) return n;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno !== E.EINTR) throw new SysError("sendmsg", errno);
  }
}
