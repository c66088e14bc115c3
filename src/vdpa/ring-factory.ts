import { warmUpRelays } from "../relay/warm-up.ts";
import { ringTraits } from "./direct-position.ts";
import { DirectRing } from "./direct-ring.ts";
import { RelayedRing, type RelayParts } from "./relayed-ring.ts";
import type { DatapathPolicy, Ring } from "./ring.ts";
import { isFreshBase, positionOf } from "./ring-base.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Whether the relay's code is compiled in this thread, so that a ring's first batch does not wait for it. */
let warm = false;

/** Decides for each ring whether the device works on it itself or on a ring of ours. */
export class RingFactory {
  constructor(
    readonly parts: RelayParts,
    readonly policy: DatapathPolicy,
  ) {
    if (policy === "relay") this.#warmUp();
  }

  /** The legacy layout puts a ring's parts into one piece of memory, so that the device can not see another ring. */
  get canRelay(): boolean {
    return this.policy !== "direct" && this.parts.transport.layout === "modern";
  }

  /** @param features negotiated with the device */
  create(vring: VringConfig, features: bigint): Ring {
    const traits = ringTraits(features);
    const direct = isFreshBase(traits.packed, vring.base) && this.policy !== "relay";
    if (direct || !this.canRelay) return new DirectRing(this.parts, vring, traits, this.parts.log);
    this.#warmUp();
    return new RelayedRing(this.parts, vring, traits, positionOf(traits.packed, vring.base));
  }

  #warmUp(): void {
    if (warm) return;
    warmUpRelays(this.parts.log);
    warm = true;
  }
}
