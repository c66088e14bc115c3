import { fstatSync } from "node:fs";
import { fdKind } from "../../hw/ffi/fd.ts";
import { writePeerFile } from "../../hw/ffi/peer-file.ts";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";
import { saveState, stateProblem } from "../device-state-blob.ts";
import type { vhost_user_transfer_device_state } from "../messages.ts";
import type { PassedFds } from "../passed-fds.ts";
import { VRING_NOFD } from "../protocol.ts";
import type { Session } from "../session.ts";
import { StateTransfer } from "../state-transfer.ts";

type Transfer = ReturnType<typeof vhost_user_transfer_device_state.read>;

const SAVE = 0;
const LOAD = 1;
const PHASE_STOPPED = 0;

/** Takes the front-end's channel as it is: the state is small. Bit 8 of the reply says that no fd comes back. */
export function setDeviceStateFd(session: Session, { direction, phase }: Transfer, fds: PassedFds): bigint {
  const refuse = (why: string) => {
    throw new OperatorError("device state transfer", { why, kind: "protocol" });
  };
  if (direction !== SAVE && direction !== LOAD)
    refuse(`direction ${direction} is neither save (0) nor load (1)`);
  if (phase !== PHASE_STOPPED) refuse(`phase ${phase} is unknown`);
  if (session.device.running) refuse("rings still run; the device must be suspended");
  const stat = fstatSync(fds.at(0));
  if (!stat.isFIFO() && !stat.isSocket() && !stat.isFile())
    refuse(`the fd can not be one: ${fdKind(fds.at(0))}`);
  session.stateTransfer?.close();
  session.stateTransfer = undefined;
  if (direction === LOAD) session.stateTransfer = new StateTransfer(session.loop, fds.take());
  else writePeerFile(fds.at(0), saveState(session), "device state");
  return VRING_NOFD;
}

/** Bits 0–7 an error, bit 8 that no fd comes back. */
export const deviceStateError = VRING_NOFD | 1n;

/** 0 when the last transfer was whole and fits this device. */
export function checkDeviceState(session: Session): bigint {
  const transfer = session.stateTransfer;
  session.stateTransfer = undefined;
  if (!transfer) return 0n;
  const state = transfer.finish();
  const problem = typeof state === "string" ? state : stateOrError(state, session);
  if (problem === undefined) return 0n;
  throw new OperatorError("device state from the front-end", { why: problem, kind: "protocol" });
}

function stateOrError(state: Uint8Array, session: Session): string | undefined {
  try {
    return stateProblem(state, session);
  } catch (error) {
    return messageOf(error);
  }
}
