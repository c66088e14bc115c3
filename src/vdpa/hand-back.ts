import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { drainEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import { armTimerfd, createTimerfd } from "../hw/ffi/timerfd.ts";
import type { RingRelay } from "../relay/relay.ts";

/**
 * How long the device, which gets nothing new at the boundary, may take to use anything of the last half ring that it
 * holds, and how often in a row. Meanwhile a receive queue may have too few buffers for a burst. With more than half
 * a ring it waits as long as it takes.
 */
const PATIENCE_MS = 250;
const WAITS = 10;
/** Pauses after an attempt that came to nothing, each twice as long as the one before. */
const FIRST_REST_MS = 1000;
const LAST_REST_MS = 16_000;

/**
 * Brings a relayed ring to the point at which a device can take it over: the position where a fresh device begins,
 * with nothing in the device's hands.
 */
export class HandBack {
  readonly #timer = createTimerfd();
  #state: "off" | "limited" | "waiting" | "resting" = "off";
  #restMs = FIRST_REST_MS;
  /** Waits left in this attempt, and what the device held when the current one began. */
  #waits = 0;
  #heldBefore = 0;

  /**
   * @param size entries of the ring
   * @param goOn looks at the ring again, which `check` is part of
   * @param drained takes the ring over; the relay ends with it
   */
  constructor(
    readonly relay: RingRelay,
    readonly size: number,
    readonly loop: EventLoop,
    readonly goOn: () => void,
    readonly drained: () => void,
  ) {
    // A timerfd is read like an eventfd: 8 bytes, the number of expirations.
    loop.add(this.#timer, EPOLLIN, () => {
      drainEventfd(this.#timer);
      this.#onTime();
    });
  }

  /** Whether the ring is to be handed back at all. */
  allow(on: boolean): void {
    if (on === (this.#state !== "off")) return;
    this.#restMs = FIRST_REST_MS;
    this.#enter(on ? "limited" : "off");
  }

  /** After the relay has moved anything. */
  check(): void {
    if (this.#state === "off" || this.#state === "resting" || this.relay.fault) return;
    if (this.relay.drainedAtBoundary) this.drained();
    else if (this.#state === "limited" && this.relay.atBoundary && this.relay.outstanding <= this.size / 2) {
      this.#waits = WAITS;
      this.#wait();
    }
  }

  #wait(): void {
    this.#waits--;
    this.#heldBefore = this.relay.outstanding;
    this.#enter("waiting", PATIENCE_MS);
  }

  close(): void {
    this.loop.remove(this.#timer);
    closeFd(this.#timer);
  }

  #onTime(): void {
    if (this.#state === "waiting" && this.#waits > 0 && this.relay.outstanding < this.#heldBefore) {
      this.#wait();
    } else if (this.#state === "waiting") {
      this.#enter("resting", this.#restMs);
      this.#restMs = Math.min(2 * this.#restMs, LAST_REST_MS);
    } else if (this.#state === "resting") {
      this.#enter("limited");
    }
    this.goOn();
  }

  #enter(state: "off" | "limited" | "waiting" | "resting", ms = 0): void {
    const limited = state === "limited" || state === "waiting";
    const before = this.#state === "limited" || this.#state === "waiting";
    this.#state = state;
    if (limited !== before) this.relay.limitFeed(limited);
    armTimerfd(this.#timer, ms);
  }
}
