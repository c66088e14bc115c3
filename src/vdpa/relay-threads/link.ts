import { createEventfd } from "../../hw/ffi/eventfd.ts";
import { createMailbox, type MailboxLink, type MailboxProtocol } from "../../hw/mailbox.ts";
import type { SharedRegion } from "../../memory/shared-table.ts";
import type { GuestRing } from "../../relay/relay.ts";
import { DRAINED_BYTES } from "./drained-flags.ts";

/** What the thread that drives a device needs to let another one move ring entries. Plain data. */
export interface RelayLink {
  readonly mailbox: MailboxLink;
  /** Eventfd by which the relay thread calls: a ring can be handed back, or the thread has died. */
  readonly eventFd: number;
}

/**
 * Requests to a relay thread. The first number is the ring's slot, but for these: `leave` (the table's number) asks
 * for all views of a guest's memory to be dropped, after which nothing is moved until `table` (the same number, the
 * regions) gives it anew; `forget` (the number) ends the table; `close` ends the thread.
 */
const OPS = [
  "table",
  "leave",
  "forget",
  "create",
  "start",
  "connect",
  "enable",
  "kick",
  "call",
  "handBack",
  "allowHandBack",
  "takeDrained",
  "log",
  "cut",
  "finish",
  "close",
] as const;
export type RelayOp = (typeof OPS)[number];

/** @param number of the relay thread, from 0 */
export const relayProtocol = (number: number): MailboxProtocol<RelayOp> => ({
  ops: OPS,
  who: `relay thread ${number}`,
});

/** Room for a memory table with all its slots, each region some 150 bytes of text. */
const DATA_BYTES = 1 << 17;

/** A link to a thread that `RelayServer` will run in. The asking side closes its eventfds. */
export function createRelayLink(): RelayLink {
  return { mailbox: createMailbox(DATA_BYTES, DRAINED_BYTES), eventFd: createEventfd() };
}

/** Data of `table`. */
export type TableData = readonly SharedRegion[];

/** Data of `create`. */
export interface CreateData {
  readonly index: number;
  readonly packed: boolean;
  readonly ring: GuestRing;
  readonly enabled: boolean;
  readonly kickFd: number;
  readonly callFd: number;
  readonly interruptFd: number;
  /** Eventfd that stands for the doorbell. */
  readonly doorbellFd: number;
  readonly buffer: { readonly hva: number; readonly bytes: number; readonly iova: bigint };
  /** Number of the memory table. */
  readonly table: number;
}

/** What `log` and `finish` answer about the log that the ring had until then. */
export interface LogOutcome {
  readonly failures: number;
  readonly firstFailure: string | undefined;
}
