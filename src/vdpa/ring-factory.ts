import { OperatorError } from "../hw/operator-error.ts";
import * as F from "../hw/virtio/features.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { RelayLogging } from "../relay/relay.ts";
import { warmUpRelays } from "../relay/warm-up.ts";
import { ringTraits } from "./direct-position.ts";
import { DirectRing } from "./direct-ring.ts";
import { RelayedRing, type RelayParts } from "./relayed-ring.ts";
import type { DatapathPolicy, Ring } from "./ring.ts";
import { isFreshBase, positionOf } from "./ring-base.ts";
import type { DeviceLogging, VringConfig } from "./vdpa-device.ts";

/** Whether the relay's code is compiled in this thread, so that a ring's first batch does not wait for it. */
let warm = false;

/** The legacy layout puts a ring's parts into one piece of memory, so that the device can not see another ring. */
const isRelayable = (transport: VirtioTransport) => transport.layout === "modern";

/** Refuses a device whose rings are all to be relayed and can not be. */
export function requireRelayable(transport: VirtioTransport, policy: DatapathPolicy): void {
  if (policy !== "relay" || isRelayable(transport)) return;
  throw new OperatorError(`the rings of ${transport.fn.name} can not be relayed`, {
    why: "it has the legacy register layout, which wants each ring as the guest laid it out",
    remedy: "leave --datapath out, or give the device its modern layout (disable-modern=off)",
    kind: "not-ready",
  });
}

/** Decides for each ring whether the device works on it itself or on a ring of ours. */
export class RingFactory {
  /** Rings to come are logged so. */
  logging: DeviceLogging | undefined;
  /** Rings to come are relayed, and those that are stay so. */
  held = false;

  constructor(
    readonly parts: RelayParts,
    readonly policy: DatapathPolicy,
    /** Takes over a relayed ring whose position lets the device work on it itself. */
    readonly onDrained: (ring: Ring) => void,
  ) {
    if (policy === "relay") this.warmUp();
  }

  get canRelay(): boolean {
    return this.policy !== "direct" && isRelayable(this.parts.transport);
  }

  /** How a ring is to be logged; undefined when it is not. */
  loggingOf(index: number): RelayLogging | undefined {
    if (!this.logging || !this.canRelay) return undefined;
    const { log, data, usedRings } = this.logging;
    const usedRingGpa = usedRings.get(index);
    return data || usedRingGpa !== undefined ? { log, data, usedRingGpa } : undefined;
  }

  /** Whether a ring can not be the device's alone now, wherever it stands. */
  mustRelay(index: number): boolean {
    return (this.held && this.canRelay) || this.loggingOf(index) !== undefined;
  }

  /** @param features negotiated with the device */
  create(vring: VringConfig, features: bigint): Ring {
    const traits = ringTraits(features);
    const logging = this.loggingOf(vring.index);
    const direct =
      isFreshBase(traits.packed, vring.base) && !this.mustRelay(vring.index) && this.policy !== "relay";
    if (direct || !this.canRelay) return new DirectRing(this.parts, vring, traits, this.parts.log);
    this.warmUp();
    const ring = new RelayedRing(this.parts, vring, traits, positionOf(traits.packed, vring.base));
    // Nothing but a reset of this queue alone lets the device take it over.
    if (this.policy === "auto" && F.hasFeature(features, F.VIRTIO_F_RING_RESET)) {
      ring.handBackTo(() => this.onDrained(ring));
    }
    ring.setLogging(logging);
    ring.hold(this.held);
    return ring;
  }

  /** Takes a tenth of a second, which the rings of a guest that arrives would stand still for. */
  warmUp(): void {
    // Relay threads see to it themselves.
    if (warm || this.parts.relayThreads) return;
    warmUpRelays(this.parts.log);
    warm = true;
  }
}
