import type { Struct } from "../hw/ffi/struct.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { PassedFds } from "./passed-fds.ts";
import type { ProtocolFeature } from "./protocol.ts";
import type { Session } from "./session.ts";

/**
 * A legal request without which the front-end gets along was not carried out. Who asked for an answer is told; for the
 * others the connection does not end over it.
 */
export class NotCarriedOut extends OperatorError {}

/** How a payload is decoded. Longer ones are allowed, shorter ones not. */
export interface Takes<P> {
  readonly least: number;
  readonly decode: (payload: Uint8Array) => P;
}

/** How many fds must come with a message: so many, or as the payload says. */
export type FdRule<P> = number | readonly [least: number, most: number] | ((payload: P) => number);

/** One message: what it carries, when it is legal, how it is answered, and what it does. */
export interface Row<P> {
  readonly takes: Takes<P>;
  readonly fds: FdRule<P>;
  /** Legal only with this protocol feature negotiated, or merely offered. */
  readonly needs?: ProtocolFeature;
  readonly offered?: ProtocolFeature;
  /** The answer of a message that always has one: what `run` returns, a bigint or the bytes. Others get an ack. */
  readonly reply?: "u64" | "payload";
  /** Payload that tells an error where the message has a form for it. */
  readonly errorReply?: Uint8Array;
  readonly run: (session: Session, payload: P, fds: PassedFds) => unknown;
}

/** A message that is known and never carried out. */
export interface RefusedRow {
  readonly refused: string;
  readonly errorReply?: Uint8Array;
}

export type AnyRow = Row<unknown> | RefusedRow;

/** A row with the types of its columns tied together. */
export const row = <P>(columns: Row<P>): AnyRow => columns as Row<unknown>;

export const refused = (why: string, errorReply?: Uint8Array): AnyRow =>
  errorReply ? { refused: why, errorReply } : { refused: why };

export const NOTHING: Takes<undefined> = { least: 0, decode: () => undefined };

// biome-ignore lint/suspicious/noExplicitAny: the struct's own type flows into the result.
export const one = <S extends Struct<any>>(of: S): Takes<ReturnType<S["read"]>> => ({
  least: of.size,
  decode: (payload) => of.read(payload) as ReturnType<S["read"]>,
});
