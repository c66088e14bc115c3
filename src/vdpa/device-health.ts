import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import { hasFeature, VIRTIO_NET_F_STATUS } from "../hw/virtio/features.ts";
import { readNetConfig, VIRTIO_NET_S_LINK_UP } from "../hw/virtio/net-config.ts";
import { VIRTIO_CONFIG_S_NEEDS_RESET } from "../hw/virtio/status.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { Counters } from "./counters.ts";

/** What a network device says by its configuration interrupt: its link, and that it can not go on. */
export class DeviceHealth {
  #linkUp: boolean | undefined;
  #unreadable = false;

  constructor(
    readonly transport: VirtioTransport,
    readonly log: Log,
    readonly counters: Counters,
  ) {}

  /** Undefined where the device does not tell. */
  get linkUp(): boolean | undefined {
    return this.#linkUp;
  }

  /** @param features negotiated with the device */
  onConfigInterrupt(features: bigint): void {
    this.counters.add("config_interrupts");
    if (this.transport.status() & VIRTIO_CONFIG_S_NEEDS_RESET) {
      this.counters.add("device_faults");
      this.log.error(`${this.transport.fn.name} needs a reset: it met an error it can not recover from`, {
        event: "device_needs_reset",
        device: this.transport.fn.name,
      });
      return;
    }
    if (this.#unreadable) return;
    try {
      this.#readLink(features);
    } catch (error) {
      // Traffic does not need it, and every further attempt would hold it up as long.
      this.#unreadable = true;
      this.log.error(`${messageOf(error)}; its link is not followed any more`, {
        event: "link_unreadable",
        error: messageOf(error),
      });
    }
  }

  /** The device was started anew. */
  onStart(features: bigint): void {
    this.#unreadable = false;
    this.#readLink(features);
  }

  /** Reports the link where it has changed. */
  #readLink(features: bigint): void {
    if (!hasFeature(features, VIRTIO_NET_F_STATUS)) return;
    const { status } = readNetConfig(this.transport, features);
    const up = status === undefined || (status & VIRTIO_NET_S_LINK_UP) !== 0;
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    this.log.info(`${this.transport.fn.name} link ${up ? "up" : "down"}`, {
      event: "link_changed",
      device: this.transport.fn.name,
      link: up ? "up" : "down",
    });
  }
}
