import { checked } from "./errno.ts";
import { isReady, O_CLOEXEC, O_NONBLOCK, POLLOUT, readFd } from "./fd.ts";
import { libc } from "./libc.ts";

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A new non-blocking eventfd with count 0; the caller owns it. */
export function createEventfd(): number {
  return checked(libc.eventfd(0, O_CLOEXEC | O_NONBLOCK), "eventfd");
}

/** Adds 1 to an eventfd's count. A full counter is already as signalled as it can be, so EAGAIN is no error. */
export function signalEventfd(fd: number): void {
  libc.write(fd, ONE, 8);
}

/**
 * Adds 1 to the count of an eventfd that a peer gave. It may be blocking and full, and would then hold this thread up
 * for ever; it is signalled enough in that case.
 */
export function signalPeerEventfd(fd: number): void {
  if (isReady(fd, POLLOUT)) signalEventfd(fd);
}

/** Reused, as one is read for every interrupt of a relayed ring. */
const count = new BigUint64Array(new ArrayBuffer(8));
const countBytes = new Uint8Array(count.buffer);

/** Takes an eventfd's count, 0 when it was not signalled. The fd must be non-blocking. */
export function drainEventfd(fd: number): bigint {
  return readFd(fd, countBytes, "eventfd") === undefined ? 0n : count[0]!;
}
