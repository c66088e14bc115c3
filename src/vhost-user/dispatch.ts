import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { Message } from "./connection.ts";
import { type AnyRow, type FdRule, NotCarriedOut, type Row } from "./handler-row.ts";
import { HANDLERS } from "./handlers.ts";
import { vhost_user_u64 } from "./messages.ts";
import {
  FLAG_NEED_REPLY,
  FLAG_REPLY,
  FLAGS_KNOWN,
  PROTOCOL_F,
  type ProtocolFeature,
  type RequestName,
  requestName,
  VERSION,
  VERSION_MASK,
} from "./protocol.ts";
import type { Session } from "./session.ts";

/** What became of a message. `refused` is the reason when it was not carried out. */
export interface Outcome {
  /** Payload to answer with; undefined for no answer. */
  readonly reply: Uint8Array | undefined;
  readonly refused?: unknown;
  /** The front-end can not know that its message was refused, so the connection must end. */
  readonly disconnect: boolean;
}

const ACK = 0n;
const NACK = 1n;
const u64 = (value: bigint) => vhost_user_u64.alloc({ u64: value });

/**
 * Carries one message out, or says why not. An error is told by the message's own error form, else by a non-zero
 * ack where one was asked for; else nothing is left but to disconnect, unless the front-end can do without. A reply without an error form is never
 * replaced by an ack: it would be read as a value.
 */
export function dispatch(session: Session, message: Message): Outcome {
  // Asked for late: SET_PROTOCOL_FEATURES may switch REPLY_ACK on with itself.
  const wantsAck = () => (message.flags & FLAG_NEED_REPLY) !== 0 && session.negotiated("REPLY_ACK");
  const row = (HANDLERS as Readonly<Record<string, AnyRow>>)[requestName(message.request) as RequestName];
  try {
    checkFlags(message.flags);
    const value = carryOut(session, message, row);
    if (value instanceof Uint8Array) return { reply: value, disconnect: false };
    if (typeof value === "bigint") return { reply: u64(value), disconnect: false };
    return { reply: wantsAck() ? u64(ACK) : undefined, disconnect: false };
  } catch (refused) {
    // A header that is wrong in itself: whatever follows can not be trusted either.
    if (refused instanceof BrokenHeader) return { reply: undefined, refused, disconnect: true };
    const reply = row?.errorReply ?? (hasOwnReply(row) || !wantsAck() ? undefined : u64(NACK));
    const disconnect = reply === undefined && !(refused instanceof NotCarriedOut);
    return { reply, refused, disconnect };
  }
}

/** A reply of its own, which an ack would be mistaken for. */
const hasOwnReply = (row: AnyRow | undefined) => row !== undefined && "run" in row && row.reply !== undefined;

class BrokenHeader extends OperatorError {}

function checkFlags(flags: number): void {
  const bad = (why: string) => {
    throw new BrokenHeader(`flags 0x${flags.toString(16)}`, { why, kind: "protocol" });
  };
  if ((flags & VERSION_MASK) !== VERSION)
    bad(`protocol version ${flags & VERSION_MASK}; this back-end speaks 1`);
  if (flags & FLAG_REPLY) bad("a reply, where only requests may come");
  if (flags & ~FLAGS_KNOWN) bad("reserved flags are set");
}

function carryOut(session: Session, message: Message, row: AnyRow | undefined): unknown {
  if (row === undefined || "refused" in row) {
    throw new OperatorError("not supported", {
      why: row?.refused ?? "no such request is known",
      kind: "protocol",
    });
  }
  checkGate(session, row);
  if (message.payload.byteLength < row.takes.least) {
    throw new OperatorError(`payload of ${message.payload.byteLength} bytes`, {
      why: `it has at least ${row.takes.least}`,
      kind: "protocol",
    });
  }
  const payload = row.takes.decode(message.payload);
  checkFdCount(row.fds, payload, message.fds.count);
  return row.run(session, payload, message.fds);
}

function checkGate(session: Session, row: Row<unknown>): void {
  const has = (bits: bigint, feature: ProtocolFeature) => (bits >> BigInt(PROTOCOL_F[feature])) & 1n;
  const missing =
    row.needs && !has(session.protocolFeatures, row.needs)
      ? `protocol feature ${row.needs} was not negotiated`
      : row.offered && !has(session.offeredProtocolFeatures, row.offered)
        ? `protocol feature ${row.offered} is not offered`
        : undefined;
  if (missing) throw new OperatorError("not allowed here", { why: missing, kind: "protocol" });
}

function checkFdCount(rule: FdRule<unknown>, payload: unknown, count: number): void {
  const wanted = typeof rule === "function" ? rule(payload) : rule;
  const [least, most] = typeof wanted === "number" ? [wanted, wanted] : wanted;
  if (count >= least && count <= most) return;
  throw new OperatorError(`${count} file descriptors`, {
    why: `the message carries ${least === most ? least : `${least} to ${most}`}`,
    kind: "protocol",
  });
}

/** `SET_VRING_NUM refused: ring 0: the size is 0`, one line. */
export function describeRefusal(request: number, refused: unknown): string {
  const text = messageOf(refused).replaceAll("\n", " ");
  const remedy = refused instanceof OperatorError && refused.remedy ? ` (${refused.remedy})` : "";
  return `${requestName(request)} refused: ${text}${remedy}`;
}
