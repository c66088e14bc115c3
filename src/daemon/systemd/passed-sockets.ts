import { isErrno } from "../../hw/ffi/errno.ts";
import { setCloseOnExec } from "../../hw/ffi/fd.ts";
import { boundPath } from "../../hw/ffi/unix-socket.ts";
import { OperatorError } from "../../hw/operator-error.ts";

/** A socket that the service manager opened for this process, or kept since the last one. */
export interface PassedSocket {
  readonly fd: number;
  /** `FileDescriptorName=` of the socket unit, or the name under which it was kept. */
  readonly name: string;
  /** What it is bound to; undefined for sockets without a path. */
  readonly path: string | undefined;
}

/** The first passed fd (SD_LISTEN_FDS_START). */
const FIRST = 3;
const MOST = 512;

/**
 * The sockets that `LISTEN_FDS` announces (sd_listen_fds(3)); none when they are meant for another process.
 * @throws OperatorError (usage) when one of them is not open
 */
export function passedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): PassedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  if (Number(LISTEN_PID) !== pid || !LISTEN_FDS || !/^\d{1,4}$/.test(LISTEN_FDS)) return [];
  const names = LISTEN_FDNAMES?.split(":") ?? [];
  return Array.from({ length: Math.min(Number(LISTEN_FDS), MOST) }, (_, i) => {
    const fd = FIRST + i;
    try {
      setCloseOnExec(fd);
      return { fd, name: names[i] ?? "unknown", path: boundPath(fd) };
    } catch (error) {
      if (!isErrno(error, "EBADF")) throw error;
      throw new OperatorError(`LISTEN_FDS is ${LISTEN_FDS}, but fd ${fd} is not open`, { kind: "usage" });
    }
  });
}

/** Whether it is still the socket that was passed: one that was given up is closed, and its number may be another's. */
export function isStillPassed({ fd, path }: PassedSocket): boolean {
  try {
    return boundPath(fd) === path;
  } catch (error) {
    if (isErrno(error, "EBADF")) return false;
    throw error;
  }
}
