import { chmodSync, chownSync, lstatSync, type Stats, unlinkSync } from "node:fs";
import { isErrno } from "../hw/ffi/errno.ts";
import { closeFd, setNonBlocking } from "../hw/ffi/fd.ts";
import { connectUnix, listenUnix, SUN_PATH_MAX } from "../hw/ffi/unix-socket.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";

/** Who may connect. What is absent stays with this process's user and group, mode 0600. */
export interface SocketAccess {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** How a socket lives on when this process ends. */
export interface SocketKeeping {
  /** A socket that already listens there, which somebody opened or kept for us. Taken over once it is listened on. */
  readonly inherited?: number | undefined;
  /** Leave the file and the socket on `close`: they outlive this listener, and front-ends may queue up there. */
  readonly keep?: boolean | undefined;
}

/** A listening socket with its file. The file is removed on `close` only while it is still this one. */
export class SocketFile {
  private constructor(
    readonly path: string,
    /** Listening socket, non-blocking; closed by `close`. */
    readonly fd: number,
    private readonly inode: number,
    private readonly device: number,
    private readonly keep: boolean,
  ) {}

  /** Takes the path over from a process that is gone, never from one that listens, nor from another kind of file. */
  static listen(path: string, access: SocketAccess & SocketKeeping): SocketFile {
    checkLength(path);
    const { inherited, keep = false } = access;
    if (inherited === undefined) removeStale(path);
    else setNonBlocking(inherited);
    const fd = inherited ?? listenPrivately(path);
    try {
      const { ino, dev, uid, gid } = lstatSync(path);
      if (access.uid !== undefined || access.gid !== undefined) {
        chownSync(path, access.uid ?? uid, access.gid ?? gid);
      }
      if (access.mode !== undefined) chmodSync(path, access.mode);
      return new SocketFile(path, fd, ino, dev, keep);
    } catch (error) {
      if (inherited === undefined) {
        closeFd(fd);
        unlinkSync(path);
      }
      throw new OperatorError(`owner and mode of socket ${path}`, {
        why: messageOf(error),
        remedy: "run as root, or choose a group that this user is a member of",
        kind: "not-ready",
        cause: error,
      });
    }
  }

  close(): void {
    if (this.keep) return;
    closeFd(this.fd);
    const now = fileAt(this.path);
    if (now?.ino === this.inode && now.dev === this.device) unlinkSync(this.path);
  }
}

function checkLength(path: string): void {
  const length = Buffer.byteLength(path);
  if (length > 0 && length <= SUN_PATH_MAX) return;
  throw new OperatorError(`socket path of ${length} bytes`, {
    why: `a Unix socket path has 1 to ${SUN_PATH_MAX} bytes`,
    remedy: "choose a shorter path, for example under /run",
    kind: "usage",
  });
}

function fileAt(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw unusable(path, error);
  }
}

/** Removes a socket that a dead process left. @throws OperatorError for one with a listener, and other kinds of files */
export function removeStale(path: string): void {
  const file = fileAt(path);
  if (!file) return;
  if (!file.isSocket()) {
    throw new OperatorError(`socket path ${path}`, {
      why: file.isDirectory()
        ? "it is a directory"
        : "there is a file that is no socket, which is left alone",
      remedy: file.isDirectory()
        ? `choose a path in it: ${path.replace(/\/+$/, "")}/vhost.sock`
        : `choose another path, or remove it: rm ${path}`,
      kind: "refused",
    });
  }
  if (hasListener(path)) {
    throw new OperatorError(`socket path ${path}`, {
      why: "another process listens there",
      remedy: "stop it, or choose another path",
      kind: "refused",
    });
  }
  unlinkSync(path);
}

function hasListener(path: string): boolean {
  try {
    closeFd(connectUnix(path));
    return true;
  } catch (error) {
    if (isErrno(error, "ECONNREFUSED", "ENOENT")) return false;
    // A full backlog has an owner; so has a stream that is not one.
    if (isErrno(error, "EAGAIN", "EPROTOTYPE")) return true;
    throw unusable(path, error);
  }
}

/** Nobody else can connect before owner and mode are set: the file appears with mode 0600. */
function listenPrivately(path: string): number {
  try {
    return listenUnix(path);
  } catch (error) {
    throw unusable(path, error);
  }
}

function unusable(path: string, error: unknown): OperatorError {
  const directory = path.slice(0, path.lastIndexOf("/") + 1) || ".";
  const missing = isErrno(error, "ENOENT");
  return new OperatorError(`socket path ${path}`, {
    why: missing
      ? `the directory ${directory} does not exist`
      : isErrno(error, "ENOTDIR")
        ? `${directory} is no directory`
        : messageOf(error),
    remedy: missing ? `create it: mkdir -p ${directory}` : undefined,
    kind: "not-ready",
    cause: error,
  });
}
