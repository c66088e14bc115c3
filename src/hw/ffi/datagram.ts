import { E, SysError } from "./errno.ts";
import { closeFd, isReady, O_CLOEXEC, O_NONBLOCK, POLLOUT } from "./fd.ts";
import { sendWithFds } from "./fd-passing.ts";
import { lastErrno, libc } from "./libc.ts";
import { unixAddress } from "./unix-socket.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
/** How long a receiver whose queue is full may take to read. */
const PATIENCE_MS = 2_000;

/**
 * Sends one datagram, with fds, which stay the caller's.
 * @param address a path, or `@` and an abstract name (unix(7))
 * @throws SysError when nobody receives there, or too late
 */
export function sendDatagram(address: string, text: string, fds: readonly number[] = []): void {
  const to = datagramAddress(address);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC | O_NONBLOCK, 0);
  if (fd < 0) throw new SysError("socket", lastErrno());
  try {
    if (libc.connect(fd, to, to.length) < 0) throw new SysError("connect", lastErrno(), address);
    const bytes = Buffer.from(text, "utf8");
    if (sendWithFds(fd, bytes, fds) !== undefined) return;
    if (!isReady(fd, POLLOUT, PATIENCE_MS) || sendWithFds(fd, bytes, fds) === undefined) {
      throw new SysError("sendmsg", E.EAGAIN, address);
    }
  } finally {
    closeFd(fd);
  }
}

/** An abstract name is NUL and the bytes behind the `@`; all of the address counts, so there is no NUL at its end. */
export function datagramAddress(address: string): Uint8Array {
  if (!address.startsWith("@")) return unixAddress(address);
  const path = unixAddress(address);
  path[2] = 0;
  return path.subarray(0, path.length - 1);
}
