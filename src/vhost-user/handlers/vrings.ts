import { OperatorError } from "../../hw/operator-error.ts";
import * as F from "../../hw/virtio/features.ts";
import { hex } from "../../memory/region.ts";
import type { vhost_vring_addr, vhost_vring_state } from "../messages.ts";
import { vhost_vring_state as vringState } from "../messages.ts";
import { VRING_LOG } from "../protocol.ts";
import type { Session } from "../session.ts";
import type { Vring, VringAddresses } from "../vring.ts";
import { basePositionProblem, completeBase, freshBase } from "../vring-base.ts";
import { translateRing } from "../vring-config.ts";
import { ringParts, sizeProblem } from "../vring-layout.ts";

type State = ReturnType<typeof vhost_vring_state.read>;
type Addr = ReturnType<typeof vhost_vring_addr.read>;

const refuse = (ring: Vring, why: string): never => {
  throw new OperatorError(`ring ${ring.index}`, { why, kind: "protocol" });
};

/** A ring that a message sets up; from now on it is expected to be completed. */
function announced(session: Session, index: number): Vring {
  const ring = session.ring(index);
  ring.announced = true;
  return ring;
}

export function setVringNum(session: Session, { index, num }: State): void {
  const ring = announced(session, index);
  const problem = sizeProblem(num, session.device.maxQueueSize(index), session.packed);
  if (problem) refuse(ring, problem);
  if (ring.running && num !== ring.num)
    refuse(ring, `it runs with ${ring.num} entries, which can not change`);
  ring.num = num;
  session.update();
}

/** Comes again while the ring runs to switch its logging: with the same addresses nothing is restarted. */
export function setVringAddr(session: Session, message: Addr): void {
  const ring = announced(session, message.index);
  if ((message.flags & ~VRING_LOG) !== 0) refuse(ring, `unknown flags 0x${message.flags.toString(16)}`);
  const addresses: VringAddresses = {
    descUva: message.desc_user_addr,
    driverUva: message.avail_user_addr,
    deviceUva: message.used_user_addr,
  };
  if (ring.running && !sameAddresses(ring.addresses, addresses)) {
    refuse(ring, "it runs, and its addresses can not change");
  }
  const logs = (message.flags & VRING_LOG) !== 0;
  const end = message.log_guest_addr + usedBytes(session, ring);
  if (logs && end > 1n << 64n)
    refuse(ring, `its log address ${hex(message.log_guest_addr)} + length overflows`);
  // Without size or layout only the first bytes can be looked at; everything is checked again at the start.
  const { regions } = session.device.memory;
  if (regions.length === 0) refuse(ring, "its addresses come before any memory table");
  translateRing(regions, ring.index, Math.max(ring.num, 1), addresses, session.virtioFeatures);
  const { logUsed, logGpa } = ring;
  ring.addresses = addresses;
  ring.logUsed = logs;
  ring.logGpa = message.log_guest_addr;
  try {
    session.updateLogging();
  } catch (error) {
    Object.assign(ring, { logUsed, logGpa });
    throw error;
  }
  session.update();
}

/** Bytes of the used ring or device area, which are logged from `log_guest_addr` on. */
function usedBytes(session: Session, ring: Vring): bigint {
  const eventIdx = F.hasFeature(session.virtioFeatures, F.VIRTIO_RING_F_EVENT_IDX);
  const [, , used] = ringParts(Math.max(ring.num, 1), session.packed ?? false, eventIdx);
  return BigInt(used.bytes);
}

const sameAddresses = (a: VringAddresses | undefined, b: VringAddresses): boolean =>
  a?.descUva === b.descUva && a.driverUva === b.driverUva && a.deviceUva === b.deviceUva;

/** What can be told now is refused now; the rest when the ring starts. */
export function setVringBase(session: Session, { index, num }: State): void {
  const ring = announced(session, index);
  if (ring.running) refuse(ring, "it runs, and its base can not change");
  const { packed } = session;
  if (packed !== undefined) {
    const base = completeBase(num, packed);
    const problem =
      basePositionProblem(base, packed, ring.num) ?? session.device.baseProblem(session.virtioFeatures, base);
    if (problem) refuse(ring, problem);
  }
  ring.base = num;
}

/** Stops the ring; everything the device wrote is in memory before the reply. */
export function getVringBase(session: Session, { index }: State): Uint8Array {
  const ring = session.ring(index);
  const wasSet = ring.base !== undefined || ring.running;
  const num = session.stopRing(ring);
  const { log } = session;
  // A migration that missed a page must not be taken for a good one.
  if (session.logging && log && log.failures > 0)
    refuse(ring, `its dirty log is incomplete: ${log.firstFailure} (${log.failures} marks lost)`);
  return vringState.alloc({ index, num: wasSet ? num : freshBase(session.packed ?? false) });
}

/** May come before every other message of the ring; the flag counts once the ring is started. */
export function setVringEnable(session: Session, { index, num }: State): void {
  const ring = session.ring(index);
  if (num > 1) refuse(ring, `enable is 0 or 1, not ${num}`);
  const enabled = num === 1;
  if (ring.running && session.device.running && enabled !== ring.enabled) {
    session.device.setVringState(index, enabled);
  }
  ring.enabled = enabled;
  session.update();
}
