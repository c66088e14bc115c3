// Pipes, sockets and files that a peer gave, read and written without ever blocking. O_NONBLOCK does not help there: it
// belongs to the open file, which the peer shares, and who asks poll first may find that the peer was quicker.
import { fstatSync } from "node:fs";
import { checked, E, SysError } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK, readFd, writeFd } from "./fd.ts";
import { receiveWithFds, sendWithFds } from "./fd-passing.ts";
import { lastErrno, libc } from "./libc.ts";

const SPLICE_F_NONBLOCK = 2;

/** Reads into `bytes`; the number read, 0 at the end, or undefined if nothing is there. Passed fds are closed. */
export function readPeerFile(fd: number, bytes: Uint8Array, what: string): number | undefined {
  const stat = fstatSync(fd);
  if (stat.isSocket()) {
    const got = receiveWithFds(fd, bytes);
    for (const passed of got?.fds ?? []) closeFd(passed);
    return got?.bytes;
  }
  if (!stat.isFIFO()) return readFd(fd, bytes, what);
  return withPipe((output, input) => {
    const n = splice(fd, input, bytes.byteLength, what);
    return n ? readFd(output, bytes.subarray(0, n), what) : n;
  });
}

/** Writes all of `bytes`, at most 64 KiB. @throws SysError, EAGAIN where the peer leaves no room */
export function writePeerFile(fd: number, bytes: Uint8Array, what: string): void {
  const stat = fstatSync(fd);
  if (stat.isSocket()) {
    for (let done = 0; done < bytes.byteLength; )
      done += orNoRoom(sendWithFds(fd, bytes.subarray(done)), what);
  } else if (stat.isFIFO()) {
    withPipe((output, input) => {
      writeFd(input, bytes, what);
      for (let left = bytes.byteLength; left > 0; ) left -= orNoRoom(splice(output, fd, left, what), what);
    });
  } else writeFd(fd, bytes, what);
}

function orNoRoom(n: number | undefined, what: string): number {
  if (n === undefined) throw new SysError("write", E.EAGAIN, what);
  return n;
}

/** Moves bytes from one pipe to another; undefined if that would block, 0 at the end. */
function splice(from: number, to: number, length: number, what: string): number | undefined {
  for (;;) {
    const n = Number(libc.splice(from, 0n, to, 0n, length, SPLICE_F_NONBLOCK));
    if (n >= 0) return n;
    const errno = lastErrno();
    if (errno === E.EAGAIN) return undefined;
    if (errno !== E.EINTR) throw new SysError("splice", errno, what);
  }
}

/** With a pipe of our own: its end to read and its end to write. */
function withPipe<T>(use: (output: number, input: number) => T): T {
  const ends = new Int32Array(new ArrayBuffer(8));
  checked(libc.pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
  try {
    return use(ends[0]!, ends[1]!);
  } finally {
    closeFd(ends[0]!);
    closeFd(ends[1]!);
  }
}
