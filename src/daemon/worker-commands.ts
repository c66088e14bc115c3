import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { FrontEndServer } from "../vhost-user/listener.ts";
import type { CommandTable } from "./command-inbox.ts";
import type { GuestMoves } from "./guest-moves.ts";

/**
 * What the main thread may ask of the thread that serves a device to front-ends by way of `server`. The log tells of a
 * failure too, as whoever asked may have gone.
 */
export function workerCommands(server: FrontEndServer, moves: GuestMoves, log: Log): CommandTable {
  return {
    hold: ({ relay }) =>
      telling(
        () => server.holdInRelay(relay),
        (error) =>
          log.warn(`migrate ${relay ? "prepare" : "cancel"} was not carried out: ${error}`, {
            event: "hold_failed",
            relay,
            error,
          }),
      ),
    move: ({ bdf, link }) =>
      telling(
        () => moves.begin(link ? { kind: "sim", link, name: bdf } : { kind: "pci", bdf }),
        (error) => log.warn(`not moved to ${bdf}: ${error}`, { event: "move_failed", to: bdf, error }),
      ),
  };
}

function telling<T>(run: () => T, tell: (error: string) => void): T {
  try {
    return run();
  } catch (error) {
    tell(messageOf(error));
    throw error;
  }
}
