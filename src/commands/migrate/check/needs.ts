import type { DeviceState } from "../../../daemon/state/device-state.ts";
import { featureNames } from "../../../hw/virtio/feature-names.ts";
import { offeredToFrontEnd } from "../../../vdpa/feature-sets.ts";
import type { ProbedDevice } from "./probe-file.ts";

const NET = 1;

/** What a guest needs of the device it comes to. */
export interface Needs {
  readonly device: string;
  /** Whether a guest uses the device now, so that this is what it uses, and not all that it might. */
  readonly in_use: boolean;
  readonly features: readonly string[];
  /** Entries of the largest ring; null when not known. */
  readonly queue_size: number | null;
  readonly pairs: number | null;
  readonly mtu: number | null;
}

/** Of a served device: what its guest has negotiated, or without one, whatever a guest may negotiate. */
export function needsOfServed(state: DeviceState): Needs {
  const rings = state.queues.filter(({ type }) => type !== "control");
  const inUse = state.features.negotiated.length > 0;
  return {
    device: state.device,
    in_use: inUse,
    features: inUse ? state.features.negotiated : state.features.offered,
    queue_size: rings.length > 0 ? Math.max(...rings.map(({ size }) => size)) : null,
    // Rings are set up for every pair that the guest knows, whether it uses it or not.
    pairs: rings.length > 0 ? Math.ceil(rings.length / 2) : (state.pairs?.device ?? null),
    mtu:
      state.mtu && (state.mtu.front_end ?? (state.features.device.includes("MTU") ? state.mtu.device : null)),
  };
}

/** Of a device that is not served: whatever a guest may negotiate. */
export function needsOfProbed(device: ProbedDevice): Needs {
  const { bdf, features, config, queue_size } = device;
  return {
    device: bdf,
    in_use: false,
    features: [...offeredNames(device)],
    queue_size,
    pairs: number(config?.["max_virtqueue_pairs"]),
    mtu: features?.names.includes("MTU") ? number(config?.["mtu"]) : null,
  };
}

/** Features that vdpactl would offer to a front-end with this device: the control queue's, for one, never are. */
export function offeredNames({ features }: Pick<ProbedDevice, "features">): ReadonlySet<string> {
  return new Set(featureNames(NET, offeredToFrontEnd(BigInt(features?.mask ?? 0), ~0n)));
}

export const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
