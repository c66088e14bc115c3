import { OperatorError } from "../hw/operator-error.ts";
import * as F from "../hw/virtio/features.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type RegionDescription, uvaToGpaIn } from "../memory/region.ts";
import type { VdpaDevice, VringConfig } from "../vdpa/vdpa-device.ts";
import type { Vring, VringAddresses } from "./vring.ts";
import { basePositionProblem, completeBase, freshBase } from "./vring-base.ts";
import { checkAligned, checkApart, ringParts, sizeProblem } from "./vring-layout.ts";

/** A ring's parts in guest addresses. */
export interface VringGpas {
  readonly descGpa: bigint;
  readonly driverGpa: bigint;
  readonly deviceGpa: bigint;
}

/**
 * Translates each part of a ring on its own, with its full extent, alignment and distance from the others checked.
 * @param regions a memory table, in force or to come
 */
export function translateRing(
  regions: readonly RegionDescription[],
  index: number,
  size: number,
  addresses: VringAddresses,
  features: bigint,
): VringGpas {
  const packed = F.hasFeature(features, F.VIRTIO_F_RING_PACKED);
  const parts = ringParts(size, packed, F.hasFeature(features, F.VIRTIO_RING_F_EVENT_IDX));
  const uvas = [addresses.descUva, addresses.driverUva, addresses.deviceUva] as const;
  const name = `ring ${index}`;
  const gpas = parts.map((part, i) => {
    const gpa = uvaToGpaIn(regions, uvas[i]!, part.bytes, `${name}: ${part.name}`);
    checkAligned(part, gpa, name);
    return gpa;
  });
  checkApart(parts, gpas, name);
  return { descGpa: gpas[0]!, driverGpa: gpas[1]!, deviceGpa: gpas[2]! };
}

/** A complete ring as the device takes it. Throws for anything that no device could start with. */
export function vringConfig(ring: Vring, device: VdpaDevice, features: bigint): VringConfig {
  const packed = F.hasFeature(features, F.VIRTIO_F_RING_PACKED);
  const refuse = (why: string) => {
    throw new OperatorError(`ring ${ring.index}`, { why, kind: "protocol" });
  };
  const size = sizeProblem(ring.num, device.maxQueueSize(ring.index), packed);
  if (size) refuse(size);
  const base = completeBase(ring.base ?? freshBase(packed), packed);
  const position = basePositionProblem(base, packed, ring.num) ?? device.baseProblem(features, base);
  if (position) refuse(position);
  return {
    index: ring.index,
    size: ring.num,
    ...translate(ring, device.memory, features),
    base,
    kickFd: ring.kickFd,
    callFd: ring.callFd,
    enabled: ring.enabled,
  };
}

function translate(ring: Vring, memory: GuestMemory, features: bigint): VringGpas {
  return translateRing(memory.regions, ring.index, ring.num, ring.addresses!, features);
}

/**
 * Throws when a memory table to come would move or lose a running ring: the device reads it at its old addresses.
 */
export function checkRunningRings(
  rings: readonly Vring[],
  now: readonly RegionDescription[],
  next: readonly RegionDescription[],
  features: bigint,
): void {
  for (const ring of rings.filter((candidate) => candidate.running)) {
    const at = (table: readonly RegionDescription[]) =>
      translateRing(table, ring.index, ring.num, ring.addresses!, features);
    const [old, fresh] = [at(now), at(next)];
    if (
      old.descGpa !== fresh.descGpa ||
      old.driverGpa !== fresh.driverGpa ||
      old.deviceGpa !== fresh.deviceGpa
    ) {
      throw new OperatorError(`ring ${ring.index}`, {
        why: "it runs, and the new memory table moves it to another guest address",
        kind: "protocol",
      });
    }
  }
}
