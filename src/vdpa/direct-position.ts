import type { Log } from "../hw/log.ts";
import * as F from "../hw/virtio/features.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { recoverPacked } from "../relay/packed-recovery.ts";
import type { Recovery } from "../relay/recovery.ts";
import type { GuestRing } from "../relay/relay.ts";
import { recoverSplit } from "../relay/split-recovery.ts";
import { baseOf, ringPosition } from "./ring-base.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** What was negotiated about rings, with the guest and the device alike. */
export interface RingTraits {
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
}

export function ringTraits(features: bigint): RingTraits {
  return {
    packed: F.hasFeature(features, F.VIRTIO_F_RING_PACKED),
    eventIdx: F.hasFeature(features, F.VIRTIO_RING_F_EVENT_IDX),
    indirect: F.hasFeature(features, F.VIRTIO_RING_F_INDIRECT_DESC),
    inOrder: F.hasFeature(features, F.VIRTIO_F_IN_ORDER),
  };
}

/** A ring as the relay and the recovery take it. */
export function guestRing(vring: VringConfig, { eventIdx, indirect, inOrder }: RingTraits): GuestRing {
  const { size, descGpa, driverGpa, deviceGpa } = vring;
  return { size, descGpa, driverGpa, deviceGpa, eventIdx, indirect, inOrder };
}

/** Position and entries in flight of a ring that its device no longer touches, as far as the ring tells. */
export function recover(memory: GuestMemory, vring: VringConfig, traits: RingTraits): Recovery {
  const ring = guestRing(vring, traits);
  if (!traits.packed) return recoverSplit(memory, ring);
  const found = recoverPacked(memory, ring);
  if (found.kind === "recovered" || vring.index % 2 === 1) return found;
  // Drivers make all receive buffers alike, which leaves little doubt where a chain ended.
  const alike = recoverPacked(memory, ring, true);
  return alike.kind === "recovered" ? alike : found;
}

/**
 * The vring base of a ring that the device worked on itself and no longer touches. The device tells it nowhere; where
 * the ring does not show it either, the likeliest one is taken and the log says so.
 */
export function directPosition(
  memory: GuestMemory,
  vring: VringConfig,
  traits: RingTraits,
  log: Log,
): number {
  const found = recover(memory, vring, traits);
  const base =
    found.kind === "recovered"
      ? baseOf(traits.packed, found.position)
      : ringPosition(memory, vring, traits.packed);
  if (found.kind === "recovered" && found.verified) return base;
  const why =
    found.kind === "recovered"
      ? "its entries in flight are right only if the device completed in order"
      : found.reason;
  log.warn(`queue ${vring.index}: the position at which it stops is not certain: ${why}`, {
    event: "position_uncertain",
    queue: vring.index,
    reason: why,
  });
  return base;
}
