import * as F from "../hw/virtio/features.ts";
import { VIRTIO_CONFIG_S_DRIVER_OK } from "../hw/virtio/status.ts";
import type { Vring } from "./vring.ts";

/** What decides whether the device can be started. */
export interface ReadinessInputs {
  readonly type: "net" | "blk";
  /** Undefined until SET_FEATURES. */
  readonly features: bigint | undefined;
  /** Memory regions. */
  readonly regions: number;
  /** STATUS is negotiated, so that DRIVER_OK tells that everything is set up. */
  readonly hasStatus: boolean;
  readonly status: number;
  /** The device has run since the last reset: single rings may come back one by one. */
  readonly hasRun: boolean;
  readonly rings: readonly Vring[];
  /** LOG_ALL is set and there is no log yet: QEMU sends it last when a guest restarts while it is migrated. */
  readonly awaitsLog: boolean;
}

/** The rings that the negotiated features use: without MQ only the first pair, or the only queue of a disk. */
export function usedRings(
  type: "net" | "blk",
  features: bigint | undefined,
  rings: readonly Vring[],
): readonly Vring[] {
  const multiqueue = F.hasFeature(features ?? 0n, type === "net" ? F.VIRTIO_NET_F_MQ : F.VIRTIO_BLK_F_MQ);
  return multiqueue ? rings : rings.slice(0, leastRings(type));
}

const leastRings = (type: "net" | "blk"): number => (type === "net" ? 2 : 1);

/**
 * Whether the device can be started now. With STATUS: DRIVER_OK is set. Without: every ring that was announced is
 * complete, as the message sequence has no other end. Either way the rings of the first pair are there.
 */
export function isReady(inputs: ReadinessInputs): boolean {
  const { type, features, hasStatus, status, rings } = inputs;
  if (features === undefined || inputs.regions === 0) return false;
  const used = usedRings(type, features, rings);
  if (hasStatus) {
    if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) return false;
    if (inputs.hasRun) return used.some((ring) => ring.complete);
  } else if (inputs.awaitsLog || used.some((ring) => ring.announced && !ring.complete)) {
    return false;
  }
  return used.slice(0, leastRings(type)).every((ring) => ring.complete);
}
