import type { Session } from "../session.ts";

/** The start of a session. Front-ends send much before it, and some send it for every queue pair. */
export function setOwner(session: Session): void {
  session.owned = true;
}

/**
 * Deprecated; back-ends are told to disable the rings and to keep the connection's state. The rings are stopped, each at
 * its position: that alone keeps a device from receiving into the memory of a front-end that is about to go.
 */
export function resetOwner(session: Session): void {
  try {
    for (const ring of session.rings) session.stopRing(ring);
  } finally {
    session.stopDevice();
    for (const ring of session.rings) ring.enabled = false;
  }
}

/** Rings and device to their initial state; the memory table stays, as front-ends send only differences of it. */
export function resetDevice(session: Session): void {
  session.stopDevice();
  for (const ring of session.rings) ring.reset();
  session.features = undefined;
  session.featuresRefused = false;
  session.status = 0;
  session.mtu = undefined;
}
