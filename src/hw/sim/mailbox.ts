import { createMailbox, extraOf, type MailboxLink, type MailboxProtocol } from "../mailbox.ts";
import { COUNTERS_SIZE } from "./counters.ts";

/** What one thread needs to talk to the device's thread. */
export type SimLink = MailboxLink;

const OPS = [
  "describe",
  "read",
  "write",
  "enableMsix",
  "setVector",
  "disableMsix",
  "bindDoorbell",
  "unbindDoorbell",
  "reset",
  "map",
  "unmap",
  "watchRelease",
  "inject",
  "close",
] as const;
export type Op = (typeof OPS)[number];

/** Flags that are posted are queues whose doorbells were rung. */
export const PROTOCOL: MailboxProtocol<Op> = { ops: OPS, who: "the simulated device" };

/** Room for the longest message, the device's description. */
const DATA_BYTES = 8192;

/** A link between the thread that runs the device and the one that drives it. */
export function createSimLink(): SimLink {
  return createMailbox(DATA_BYTES, COUNTERS_SIZE);
}

/** Where the device's counters lie in the shared memory. */
export const countersOf = extraOf;
