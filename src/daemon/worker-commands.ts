import type { FrontEndServer } from "../vhost-user/listener.ts";
import type { CommandTable } from "./command-inbox.ts";
import type { GuestMoves } from "./guest-moves.ts";

/** What the main thread may ask of the thread that serves a device to front-ends by way of `server`. */
export function workerCommands(server: FrontEndServer, moves: GuestMoves): CommandTable {
  return {
    hold: ({ relay }) => server.holdInRelay(relay),
    move: ({ bdf, link }) => moves.begin(link ? { kind: "sim", link, name: bdf } : { kind: "pci", bdf }),
  };
}
