import type { GuestMemory } from "../memory/guest-memory.ts";
import type { RingTraits } from "./direct-position.ts";
import { PackedWatch } from "./packed-watch.ts";
import { SplitWatch } from "./split-watch.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Watches a direct ring to learn where its device stands and what it holds, which the device tells nowhere. */
export interface RingWatch {
  /** Looks again; whether both are known for certain now. */
  look(): boolean;
  /** A completion out of order was seen, on a ring on which that leaves them unknown. */
  readonly broken: boolean;
  /**
   * Once the device no longer touches the ring: the vring base from which on exactly what it held is available.
   * Undefined where the last look did not tell.
   */
  leave(): number | undefined;
}

export function watchRing(memory: GuestMemory, vring: VringConfig, traits: RingTraits): RingWatch {
  return traits.packed ? new PackedWatch(memory, vring, traits) : new SplitWatch(memory, vring, traits);
}
