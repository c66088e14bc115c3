import { signalPeerEventfd } from "../hw/ffi/eventfd.ts";
import type { Log } from "../hw/log.ts";
import type { BackChannel } from "./back-channel.ts";
import { type DevicePlace, HostNotifiers } from "./host-notifiers.ts";
import type { ProtocolFeature } from "./protocol.ts";
import type { Vring } from "./vring.ts";

/** What a session knows and pages depend on. */
export interface PagesOwner {
  readonly rings: readonly Vring[];
  negotiated(feature: ProtocolFeature): boolean;
}

/** REPLY_ACK too: without it nobody could tell when a page that is taken back is no longer in use. */
const NEEDED = ["BACKEND_REQ", "BACKEND_SEND_FD", "HOST_NOTIFIER", "REPLY_ACK"] as const;

/** When a session's doorbell pages are offered to the front-end, and when they are taken back. */
export class DoorbellPages {
  readonly #notifiers: HostNotifiers;
  #channel: BackChannel | undefined;

  constructor(
    private readonly place: DevicePlace,
    private readonly owner: PagesOwner,
    log: Log,
  ) {
    this.#notifiers = new HostNotifiers(place, log, (index) => this.#withdrawn(index));
  }

  isActive(index: number): boolean {
    return this.#notifiers.isActive(index);
  }

  /** Takes over the channel, in place of an earlier one. */
  useChannel(channel: BackChannel): void {
    this.withdraw();
    this.#channel?.close();
    this.#channel = channel;
    this.offer();
  }

  withdraw(rings: readonly Vring[] = this.owner.rings): void {
    this.#notifiers.withdraw(rings.map((ring) => ring.index));
  }

  /** Offers the pages of running rings that may have one and do not yet. */
  offer(): void {
    const channel = this.#channel;
    const agreed = NEEDED.every((feature) => this.owner.negotiated(feature));
    if (!channel || !agreed || !this.place.device.running) return;
    const running = this.owner.rings.filter((ring) => ring.running).map((ring) => ring.index);
    this.#notifiers.offer(running, channel);
  }

  /** Has them all taken back while `step` moves rings, and offered where they can be afterwards, whatever became of it. */
  without(step: () => void): void {
    this.withdraw();
    try {
      step();
    } finally {
      this.offer();
    }
  }

  /** The ring may have been moved to the relay, which hears kicks by eventfd only, while the guest rang the device. */
  #withdrawn(index: number): void {
    const ring = this.owner.rings[index];
    if (ring?.running && ring.kickFd >= 0) signalPeerEventfd(ring.kickFd);
    this.offer();
  }

  close(): void {
    this.#channel?.close();
  }
}
