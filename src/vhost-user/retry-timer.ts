import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { drainEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import { armTimerfd, createTimerfd } from "../hw/ffi/timerfd.ts";

const FIRST_MS = 50;
const LAST_MS = 2000;

/** Calls back after a wait that doubles with each one, until `reset`. Owns its timer. */
export class RetryTimer {
  readonly #fd = createTimerfd();
  #next = FIRST_MS;
  #open = true;

  constructor(
    private readonly loop: EventLoop,
    onTime: () => void,
  ) {
    loop.add(this.#fd, EPOLLIN, () => {
      // A timerfd is read like an eventfd: 8 bytes, the number of expirations.
      drainEventfd(this.#fd);
      onTime();
    });
  }

  /** Arms the timer; the next wait will be longer. */
  wait(): void {
    if (!this.#open) return;
    armTimerfd(this.#fd, this.#next);
    this.#next = Math.min(this.#next * 2, LAST_MS);
  }

  /** The next wait is the shortest again. */
  reset(): void {
    this.#next = FIRST_MS;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.loop.remove(this.#fd);
    closeFd(this.#fd);
  }
}
