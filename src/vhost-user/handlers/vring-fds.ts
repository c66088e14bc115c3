import { fdKind, isEventfd, setNonBlocking } from "../../hw/ffi/fd.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import type { PassedFds } from "../passed-fds.ts";
import { VRING_INDEX_MASK, VRING_NOFD } from "../protocol.ts";
import type { Session } from "../session.ts";
import type { Vring, VringFd } from "../vring.ts";

interface VringFile {
  readonly u64: bigint;
}

/** Whether SET_VRING_KICK, CALL or ERR says that an fd comes with it. */
export const carriesFd = ({ u64 }: VringFile): boolean => (u64 & VRING_NOFD) === 0n;

/** Starts the ring (not: enables it), and replaces the fd of a running one. */
export function setVringKick(session: Session, file: VringFile, fds: PassedFds): void {
  const ring = ringOf(session, file);
  const fd = eventfdOf(ring, "kick", fds);
  // Only we read this eventfd, and a relayed kick must never block us. The flag is the open file's, so the peer's too.
  if (fd >= 0) setNonBlocking(fd);
  else
    session.logger.warn(
      `ring ${ring.index}: the front-end gives no kick fd: the device hears of nothing new`,
      { event: "kick_fd_missing", queue: ring.index },
    );
  replace(session, ring, "kick", fds, (next) => session.device.setVringKick(ring.index, next));
  ring.started = true;
  session.update();
}

export function setVringCall(session: Session, file: VringFile, fds: PassedFds): void {
  const ring = ringOf(session, file);
  eventfdOf(ring, "call", fds);
  replace(session, ring, "call", fds, (next) => session.device.setVringCall(ring.index, next));
}

/** The fd is kept for the ring's lifetime; this device has no errors of single rings to signal. */
export function setVringErr(session: Session, file: VringFile, fds: PassedFds): void {
  const ring = ringOf(session, file);
  eventfdOf(ring, "err", fds);
  ring.setFd("err", fds.take());
}

function ringOf(session: Session, { u64 }: VringFile): Vring {
  const unknown = u64 & ~(VRING_INDEX_MASK | VRING_NOFD);
  if (unknown !== 0n) {
    throw new OperatorError(`payload 0x${u64.toString(16)}`, {
      why: "only the ring index (bits 0–7) and the no-fd flag (bit 8) are known",
      kind: "protocol",
    });
  }
  const ring = session.ring(Number(u64 & VRING_INDEX_MASK));
  ring.announced = true;
  return ring;
}

/** The message's fd, -1 for none. VFIO takes nothing but an eventfd. */
function eventfdOf(ring: Vring, kind: VringFd, fds: PassedFds): number {
  const fd = fds.at(0);
  if (fd >= 0 && !isEventfd(fd)) {
    throw new OperatorError(`ring ${ring.index}: ${kind} fd`, {
      why: `it is no eventfd but ${fdKind(fd)}`,
      kind: "protocol",
    });
  }
  return fd;
}

/** The device changes over first: when it refuses, the old fd stays in use and the new one is closed unused. */
function replace(
  session: Session,
  ring: Vring,
  kind: VringFd,
  fds: PassedFds,
  tellDevice: (fd: number) => void,
): void {
  if (ring.running && session.device.running) tellDevice(fds.at(0));
  ring.setFd(kind, fds.take());
}
