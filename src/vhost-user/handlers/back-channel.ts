import { fdKind, setNonBlocking } from "../../hw/ffi/fd.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import { BackChannel } from "../back-channel.ts";
import type { PassedFds } from "../passed-fds.ts";
import type { Session } from "../session.ts";

/** The channel for our own requests; replaces an earlier one. */
export function setBackendReqFd(session: Session, _payload: unknown, fds: PassedFds): void {
  const kind = fdKind(fds.at(0));
  if (!kind.startsWith("socket:")) {
    throw new OperatorError("back channel fd", { why: `it is no socket but ${kind}`, kind: "protocol" });
  }
  setNonBlocking(fds.at(0));
  session.pages.useChannel(new BackChannel(session, fds.take(), session.logger));
}
