import { featureNames } from "../hw/virtio/feature-names.ts";
import type { VdpaDevice } from "../vdpa/vdpa-device.ts";
import { IMPLEMENTED, protocolBits, protocolFeatureNames } from "./protocol.ts";
import type { Session } from "./session.ts";
import { sizeProblem } from "./vring-layout.ts";

/** What a guest without a word on its MTU may send (virtio 1.3 §5.1.4). */
const USUAL_MTU = 1500;

/** Protocol features that a session on this device can have. */
export function protocolFeaturesOf(device: VdpaDevice): bigint {
  const missing = device.canAnnounce ? 0n : protocolBits("RARP");
  return device.getProtocolFeatures() & IMPLEMENTED & ~missing;
}

/**
 * What another device lacks of what this session has negotiated or was told, each in a few words. Nothing: the guest
 * can go on there.
 */
export function lacking(session: Session, other: VdpaDevice): string[] {
  const { device } = session;
  const found: string[] = [];
  if (other.type !== device.type) return [`it is a ${other.type} device`];
  // Before the driver has chosen, it may choose all that was offered.
  const features = session.features === undefined ? device.getFeatures() : session.virtioFeatures;
  const missing = features & ~other.getFeatures();
  if (missing !== 0n) found.push(`it does not offer ${featureNames(1, missing).join(", ")}`);
  const protocol = session.protocolFeatures & ~protocolFeaturesOf(other);
  if (protocol !== 0n)
    found.push(`it can not carry the protocol feature ${protocolFeatureNames(protocol).join(", ")}`);
  if (device.canLog && !other.canLog) found.push("its rings can not be relayed");
  if (other.maxQueues < session.rings.length) {
    found.push(`it has ${other.maxQueues} queues instead of ${session.rings.length}`);
  }
  for (const { index, num } of session.rings.slice(0, other.maxQueues)) {
    const problem = num > 0 ? sizeProblem(num, other.maxQueueSize(index), session.packed) : undefined;
    if (problem) found.push(`queue ${index}: ${problem}`);
  }
  const mtu = session.mtu ?? Math.min(device.maxMtu, USUAL_MTU);
  if (other.maxMtu < mtu) found.push(`its MTU is at most ${other.maxMtu}, not ${mtu}`);
  return found;
}

/** Features that the front-end was offered, that its driver has not chosen, and that the other device lacks. */
export function unkept(session: Session, other: VdpaDevice): string[] {
  return featureNames(1, session.device.getFeatures() & ~session.virtioFeatures & ~other.getFeatures());
}
