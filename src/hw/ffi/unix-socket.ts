import { fchmodSync } from "node:fs";
import { OperatorError } from "../operator-error.ts";
import { checked, E, SysError } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";
import { s32, struct, u32 } from "./struct.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** Longest socket path in bytes; sun_path has 108 with its NUL. */
export const SUN_PATH_MAX = 107;

export const ucred = struct("ucred", { pid: s32, uid: u32, gid: u32 });

/** The sockaddr_un of a path. @throws OperatorError (usage) for a path that does not fit */
export function unixAddress(path: string): Uint8Array {
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
  const address = unixAddress(path);
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
  const address = unixAddress(path);
  const fd = newSocket();
  if (libc.connect(fd, address, address.length) < 0) {
    const error = new SysError("connect", lastErrno(), path);
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** The path that a Unix socket is bound to; undefined for sockets without one and for other kinds of fds. */
export function boundPath(fd: number): string | undefined {
  const address = new Uint8Array(new ArrayBuffer(2 + SUN_PATH_MAX + 1));
  const length = new Uint32Array([address.length]);
  if (libc.getsockname(fd, address, length) < 0) {
    const errno = lastErrno();
    if (errno === E.ENOTSOCK) return undefined;
    throw new SysError("getsockname", errno);
  }
  const end = address.indexOf(0, 2);
  // An abstract name begins with a NUL, an unnamed socket has nothing behind the family.
  if (address[0] !== AF_UNIX || length[0]! <= 2 || end === 2) return undefined;
  return Buffer.from(address.subarray(2, end < 0 ? address.length : end)).toString("utf8");
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
