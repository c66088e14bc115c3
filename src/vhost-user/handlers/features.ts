import { OperatorError } from "../../hw/operator-error.ts";
import { hex } from "../../memory/region.ts";
import { vhostFeatureNames } from "../feature-names.ts";
import { protocolFeatureNames, VHOST_F_LOG_ALL, VHOST_USER_F_PROTOCOL_FEATURES } from "../protocol.ts";
import type { Session } from "../session.ts";

export const getFeatures = (session: Session): bigint => session.offeredFeatures;

/** While the device runs only LOG_ALL may change; without PROTOCOL_FEATURES all rings are enabled. */
export function setFeatures(session: Session, { u64: features }: { u64: bigint }): void {
  try {
    checkFeatures(session, features);
  } catch (error) {
    session.featuresRefused = true;
    throw error;
  }
  const before = session.features;
  session.features = features;
  try {
    session.updateLogging();
  } catch (error) {
    session.features = before;
    throw error;
  }
  session.featuresRefused = false;
  if ((features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n) enableAll(session);
  session.update();
}

function checkFeatures(session: Session, features: bigint): void {
  const type = session.deviceType;
  const unoffered = features & ~session.offeredFeatures;
  if (unoffered !== 0n) {
    throw new OperatorError(`features ${hex(features)}`, {
      why: `not offered: ${describe(type, unoffered)}`,
      kind: "protocol",
    });
  }
  const changed = (features ^ (session.features ?? features)) & ~VHOST_F_LOG_ALL;
  if (session.device.running && changed !== 0n) {
    throw new OperatorError(`features ${hex(features)}`, {
      why: `the device runs and can not change ${describe(type, changed)}`,
      kind: "protocol",
    });
  }
}

const describe = (type: number, bits: bigint): string => vhostFeatureNames(type, bits).join(", ");

function enableAll(session: Session): void {
  for (const ring of session.rings) {
    if (ring.enabled) continue;
    if (ring.running) session.device.setVringState(ring.index, true);
    ring.enabled = true;
  }
}

export const getProtocolFeatures = (session: Session): bigint => session.offeredProtocolFeatures;

export function setProtocolFeatures(session: Session, { u64: features }: { u64: bigint }): void {
  const refuse = (why: string) => {
    throw new OperatorError(`protocol features ${hex(features)}`, { why, kind: "protocol" });
  };
  const unoffered = features & ~session.offeredProtocolFeatures;
  if (unoffered !== 0n) refuse(`not offered: ${protocolFeatureNames(unoffered).join(", ")}`);
  if (session.device.running && features !== session.protocolFeatures) refuse("the device runs");
  session.protocolFeatures = features;
}

export const getQueueNum = (session: Session): bigint => BigInt(session.device.getQueueNum());
