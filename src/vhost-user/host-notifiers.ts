import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { VdpaDevice } from "../vdpa/vdpa-device.ts";
import type { BackChannel } from "./back-channel.ts";
import { vhost_user_vring_area } from "./messages.ts";
import { BACKEND_REQUEST, VRING_NOFD } from "./protocol.ts";

/**
 * Doorbell pages given to the front-end, which maps them into the guest (VRING_HOST_NOTIFIER_MSG). Answers are read
 * whenever they come: the front-end may be waiting for us on the main channel. The kick eventfd stays connected, so
 * that a page not taken, or taken without a word, costs nothing.
 */
export class HostNotifiers {
  /** Offered and not refused so far; true once the front-end said that it took the page. */
  readonly #offered = new Map<number, boolean>();
  #channel: BackChannel | undefined;

  constructor(
    private readonly device: VdpaDevice,
    private readonly log: Log,
  ) {}

  isActive(index: number): boolean {
    return this.#offered.get(index) ?? false;
  }

  /** Offers the pages of rings that were not offered yet. A failing channel is closed and logged, nothing more. */
  offer(indices: readonly number[], channel: BackChannel, wantReply: boolean): void {
    if (this.#channel !== channel) this.#offered.clear();
    this.#channel = channel;
    for (const index of indices) {
      if (this.#offered.has(index) || !channel.open) continue;
      const page = this.device.getNotifyArea(index);
      if (!page) continue;
      this.#offered.set(index, false);
      const area = vhost_user_vring_area.alloc({
        u64: BigInt(index),
        size: BigInt(page.size),
        offset: page.offset,
      });
      const answered = (ok: boolean, reason: string) => this.#answered(index, channel, ok, reason);
      channel.request(
        BACKEND_REQUEST.VRING_HOST_NOTIFIER_MSG,
        area,
        [page.fd],
        wantReply ? answered : undefined,
      );
    }
  }

  /** Takes the pages back, before their rings stop. */
  withdraw(indices: readonly number[]): void {
    for (const index of indices) {
      if (!this.#offered.has(index)) continue;
      const active = this.isActive(index);
      this.#offered.delete(index);
      const area = vhost_user_vring_area.alloc({ u64: BigInt(index) | VRING_NOFD });
      if (this.#channel?.open) this.#channel.request(BACKEND_REQUEST.VRING_HOST_NOTIFIER_MSG, area, []);
      if (active) this.#setActive(index, false);
    }
  }

  #answered(index: number, channel: BackChannel, ok: boolean, reason: string): void {
    // Withdrawn, or offered anew on another channel meanwhile.
    if (this.#channel !== channel || !this.#offered.has(index)) return;
    this.#offered.set(index, ok);
    if (!ok) this.log.debug(`ring ${index}: the front-end does not map the doorbell page: ${reason}`);
    this.#setActive(index, ok);
  }

  #setActive(index: number, active: boolean): void {
    try {
      this.device.setHostNotifier(index, active);
    } catch (error) {
      this.log.error(`ring ${index}: switching its doorbell: ${messageOf(error)}`);
    }
  }
}
