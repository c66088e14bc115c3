import * as v from "valibot";
import { OperatorError } from "../../hw/operator-error.ts";
import type { PlainError } from "../messages.ts";

/**
 * The control protocol: one JSON object per line, over a Unix socket. A request has the protocol's version and an
 * operation; each gets one answer, in order. Unknown keys are errors, so that no word of a newer client is missed.
 *
 *     {"v":1,"op":"hold","device":"0000:00:04.0","relay":true}
 *     {"v":1,"ok":true,"result":{…}}
 *     {"v":1,"ok":false,"error":{"what":"…","why":"…","remedy":"…","kind":"not-ready"}}
 */
export const CONTROL_VERSION = 1;

/** Longest request in bytes, its newline not counted. */
export const REQUEST_MAX = 4096;

const version = v.literal(CONTROL_VERSION);
/** The device's name in the state's list; needed where the daemon serves several. */
const device = v.optional(v.string());

const BDF = /^[\da-f]{4,8}:[\da-f]{2}:[01][\da-f]\.[0-7]$/;

const REQUEST = v.variant("op", [
  /** The state of all devices; `rates` keeps the ring positions sampled for some seconds. */
  v.strictObject({ v: version, op: v.literal("state"), rates: v.optional(v.boolean()) }),
  /** Keeps all rings relayed, or no longer. Answered once it is done. */
  v.strictObject({ v: version, op: v.literal("hold"), device, relay: v.boolean() }),
  /** Moves the running guest to another PCI device, by its full BDF. Answered once it runs there, or on as before. */
  v.strictObject({ v: version, op: v.literal("move"), device, to: v.pipe(v.string(), v.regex(BDF)) }),
]);

export type ControlRequest = v.InferOutput<typeof REQUEST>;

export type ControlAnswer =
  | { readonly v: number; readonly ok: true; readonly result: unknown }
  | { readonly v: number; readonly ok: false; readonly error: PlainError };

/** @throws OperatorError (usage) that says what is wrong with the line */
export function parseRequest(line: string): ControlRequest {
  const bad = (why: string) => new OperatorError("the request was not understood", { why, kind: "usage" });
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw bad("it is no JSON");
  }
  const theirs = typeof json === "object" && json !== null ? (json as { v?: unknown }).v : undefined;
  if (theirs !== CONTROL_VERSION) {
    throw bad(`this daemon speaks version ${CONTROL_VERSION} of the control protocol`);
  }
  const result = v.safeParse(REQUEST, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw bad(`${v.getDotPath(issue) ?? "request"}: ${issue.message}`);
}

const KINDS = ["failed", "usage", "not-ready", "refused", "protocol", "migration"] as const;
const text = v.nullish(v.string());
const ANSWER = v.variant("ok", [
  v.object({ v: version, ok: v.literal(true), result: v.unknown() }),
  v.object({
    v: version,
    ok: v.literal(false),
    error: v.object({ what: v.string(), why: text, remedy: text, kind: v.picklist(KINDS) }),
  }),
]);

/**
 * The result that an answer carries.
 * @throws the daemon's error as it was there, or an OperatorError when the line is no answer
 */
export function parseAnswer(line: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {}
  const parsed = v.safeParse(ANSWER, json);
  if (!parsed.success) {
    throw new OperatorError("the daemon's answer was not understood", {
      why: "it may be of another version of vdpactl",
      remedy: "use the program that serves, or restart the service",
    });
  }
  const answer = parsed.output;
  if (answer.ok) return answer.result;
  const { what, why, remedy, kind } = answer.error;
  throw new OperatorError(what, { why: why ?? undefined, remedy: remedy ?? undefined, kind });
}
