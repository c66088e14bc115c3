import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import type { Log } from "../../hw/log.ts";
import type { MappingTime } from "../../memory/timed-dma.ts";
import type { FrontEndServer } from "../../vhost-user/listener.ts";
import type { CommandTable } from "../command-inbox.ts";
import type { ServedDevice } from "../served-device.ts";
import { describeDevice } from "./describe-device.ts";
import { StateBoard } from "./state-board.ts";
import { StatePublisher } from "./state-publisher.ts";

/** Shows on a board what a serving thread does. Its functions are given to whoever changes something. */
export class DeviceWatch {
  readonly #board: StateBoard;
  #publisher: StatePublisher | undefined;
  readonly #refused = new Map<string, number>();
  /** Begins anew with each front-end, whose memory it is. */
  readonly mappingTime: MappingTime = { ms: 0 };

  constructor(board: SharedArrayBuffer) {
    this.#board = new StateBoard(board);
  }

  /** Something is about to change, or has. */
  readonly touch = (): void => this.#publisher?.touch();

  /** The same commands, after each of which the board shows what it has changed. */
  around(table: CommandTable): CommandTable {
    const watched = (run: (command: never) => unknown) => (command: never) => {
      this.touch();
      try {
        return run(command);
      } finally {
        this.#publisher?.publish();
      }
    };
    return Object.fromEntries(
      Object.entries(table).map(([op, run]) => [op, watched(run as (command: never) => unknown)]),
    ) as unknown as CommandTable;
  }

  /** Counts a refused message by its name. Messages that nobody defined count as one kind, so the kinds are few. */
  readonly onRefused = (message: string): void => {
    const kind = message.startsWith("request ") ? "unknown" : message;
    this.#refused.set(kind, (this.#refused.get(kind) ?? 0) + 1);
  };

  /** Shows the state from now on, until the loop ends. */
  start(loop: EventLoop, log: Log, served: ServedDevice, server: FrontEndServer): void {
    this.#publisher = new StatePublisher(this.#board, loop, log, () => {
      const frontEnd = server.state;
      if (!frontEnd) this.mappingTime.ms = 0;
      return describeDevice({
        name: served.name,
        device: served.device,
        frontEnd,
        refused: this.#refused,
        mappingMs: this.mappingTime.ms,
      });
    });
  }
}
