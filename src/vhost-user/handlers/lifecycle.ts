import type { Session } from "../session.ts";

/** The start of a session. Front-ends send much before it, and some send it for every queue pair. */
export function setOwner(session: Session): void {
  session.owned = true;
}

/** Deprecated; back-ends are told to disable the rings and to keep the connection's state. */
export function resetOwner(session: Session): void {
  session.stopDevice();
  for (const ring of session.rings) ring.enabled = false;
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
