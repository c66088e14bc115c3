import type { Session } from "./session.ts";

export interface RingState {
  readonly index: number;
  /** Entries, 0 when not set. */
  readonly size: number;
  readonly started: boolean;
  readonly enabled: boolean;
  /** The device processes it. */
  readonly running: boolean;
  readonly hasKick: boolean;
  readonly hasCall: boolean;
  /** The front-end has mapped the doorbell page into the guest. */
  readonly hostNotifier: boolean;
}

/** What a front-end has set up. */
export interface FrontEndState {
  readonly owned: boolean;
  /** As negotiated, with the vhost-user bits; undefined before SET_FEATURES. */
  readonly features: bigint | undefined;
  readonly protocolFeatures: bigint;
  /** Virtio device status; 0 where STATUS is not negotiated. */
  readonly status: number;
  readonly mtu: number | undefined;
  readonly memory: { readonly regions: number; readonly bytes: bigint };
  /** Rings that the front-end has mentioned. */
  readonly rings: readonly RingState[];
}

export function describeSession(session: Session): FrontEndState {
  const { memory } = session.device;
  return {
    owned: session.owned,
    features: session.features,
    protocolFeatures: session.protocolFeatures,
    status: session.status,
    mtu: session.mtu,
    memory: { regions: memory.count, bytes: memory.bytes },
    rings: session.rings
      .filter((ring) => ring.announced || ring.enabled)
      .map((ring) => ({
        index: ring.index,
        size: ring.num,
        started: ring.started,
        enabled: ring.enabled,
        running: ring.running,
        hasKick: ring.kickFd >= 0,
        hasCall: ring.callFd >= 0,
        hostNotifier: session.pages.isActive(ring.index),
      })),
  };
}
