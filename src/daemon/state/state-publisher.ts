import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import type { StateBoard } from "./state-board.ts";

/**
 * Keeps a board up to date: at most once for each batch of events, and only after something has changed, however many
 * messages a front-end sends.
 */
export class StatePublisher {
  #changed = false;
  #reported = false;

  constructor(
    private readonly board: StateBoard,
    private readonly loop: EventLoop,
    private readonly log: Log,
    /** What to show, as plain data. */
    private readonly describe: () => unknown,
  ) {
    this.touch();
    this.publish();
    loop.afterBatch = () => this.publish();
  }

  /** Something is about to change, or has. */
  touch(): void {
    if (this.#changed) return;
    this.#changed = true;
    this.board.beginChange();
  }

  close(): void {
    this.loop.afterBatch = undefined;
  }

  /** Shows what has changed, at once. */
  publish(): void {
    if (!this.#changed) return;
    this.#changed = false;
    let problem = "it is too long";
    try {
      if (this.board.write(JSON.stringify(this.describe()))) return;
    } catch (error) {
      problem = messageOf(error);
    }
    // What others see is no reason to stop serving, and one line about it is enough.
    if (!this.#reported)
      this.log.error(`the state can not be shown: ${problem}`, { event: "state_unshown", reason: problem });
    this.#reported = true;
  }
}
