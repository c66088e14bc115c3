import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { VdpaDevice } from "../vdpa/vdpa-device.ts";
import type { BackChannel } from "./back-channel.ts";
import { vhost_user_vring_area } from "./messages.ts";
import { BACKEND_REQUEST, VRING_NOFD } from "./protocol.ts";

/** `refused` is remembered, so that the page is offered anew only when its ring starts again. */
type PageState = "offered" | "taken" | "refused" | "leaving";

/** Where the device that serves is found. */
export interface DevicePlace {
  readonly device: VdpaDevice;
}

/**
 * Doorbell pages given to the front-end, which maps them into the guest (VRING_HOST_NOTIFIER_MSG). Answers are read
 * whenever they come: the front-end may be waiting for us on the main channel. The kick eventfd stays connected, so
 * that a page not taken costs nothing.
 */
export class HostNotifiers {
  readonly #pages = new Map<number, PageState>();
  #channel: BackChannel | undefined;

  /**
   * @param onWithdrawn the front-end has unmapped a ring's page. Until then the guest rang the device itself, and
   * whoever waits for the kick eventfd of a ring that was moved meanwhile has not heard of it.
   */
  constructor(
    private readonly place: DevicePlace,
    private readonly log: Log,
    private readonly onWithdrawn: (index: number) => void,
  ) {}

  isActive(index: number): boolean {
    return this.#pages.get(index) === "taken";
  }

  /** Offers the pages of rings that were not offered yet. A failing channel is closed and logged, nothing more. */
  offer(indices: readonly number[], channel: BackChannel): void {
    if (this.#channel !== channel) this.#pages.clear();
    this.#channel = channel;
    for (const index of indices) {
      if (this.#pages.has(index) || !channel.open) continue;
      const page = this.place.device.getNotifyArea(index);
      if (!page) continue;
      this.#pages.set(index, "offered");
      const area = vhost_user_vring_area.alloc({
        u64: BigInt(index),
        size: BigInt(page.size),
        offset: page.offset,
      });
      channel.request(BACKEND_REQUEST.VRING_HOST_NOTIFIER_MSG, area, [page.fd], (ok, reason) =>
        this.#answered(index, channel, ok, reason),
      );
    }
  }

  /** Takes the pages back, before their rings stop or are relayed. */
  withdraw(indices: readonly number[]): void {
    const channel = this.#channel;
    for (const index of indices) {
      const state = this.#pages.get(index);
      if (!channel || state === undefined || state === "leaving") continue;
      if (state === "taken") this.#setActive(index, false);
      this.#pages.delete(index);
      if (state === "refused" || !channel.open) continue;
      // A page that leaves is not offered again before it has left: QEMU frees what it unmapped later, and aborts
      // when the same page is to go twice before that (vhost_user_host_notifier_remove).
      this.#pages.set(index, "leaving");
      const area = vhost_user_vring_area.alloc({ u64: BigInt(index) | VRING_NOFD });
      channel.request(BACKEND_REQUEST.VRING_HOST_NOTIFIER_MSG, area, [], () => this.#left(index, channel));
    }
  }

  #answered(index: number, channel: BackChannel, ok: boolean, reason: string): void {
    // Withdrawn, or offered anew on another channel meanwhile.
    if (this.#channel !== channel || this.#pages.get(index) !== "offered") return;
    this.#pages.set(index, ok ? "taken" : "refused");
    if (!ok)
      this.log.debug(`ring ${index}: the front-end does not map the doorbell page: ${reason}`, {
        event: "doorbell_page_refused",
        queue: index,
        reason,
      });
    this.#setActive(index, ok);
  }

  #left(index: number, channel: BackChannel): void {
    if (this.#channel !== channel || this.#pages.get(index) !== "leaving") return;
    this.#pages.delete(index);
    this.onWithdrawn(index);
  }

  #setActive(index: number, active: boolean): void {
    try {
      this.place.device.setHostNotifier(index, active);
    } catch (error) {
      this.log.error(`ring ${index}: switching its doorbell: ${messageOf(error)}`, {
        event: "doorbell_switch_failed",
        queue: index,
        error: messageOf(error),
      });
    }
  }
}
