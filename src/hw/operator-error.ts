/**
 * How an error ends for the operator; each kind has one exit code (docs/cli.md).
 * - `failed`: something did not work (1) · `usage`: wrong arguments (2) · `not-ready`: the device or the
 *   host is not set up for it (3) · `refused`: refused for safety, may be forced (4) · `protocol`: the peer
 *   broke the vhost-user protocol (5) · `migration`: the guest can not move, or its move did not converge (6)
 */
export type ErrorKind = "failed" | "usage" | "not-ready" | "refused" | "protocol" | "migration";

export interface ErrorDetail {
  /** What made it fail, in one sentence without a full stop. */
  why?: string | undefined;
  /** The next command to type or setting to change. */
  remedy?: string | undefined;
  kind?: ErrorKind | undefined;
  cause?: unknown;
}

/** An error that is shown to an operator: what, why, and the next thing to do. */
export class OperatorError extends Error {
  override readonly name: string = "OperatorError";
  readonly why: string | undefined;
  readonly remedy: string | undefined;
  readonly kind: ErrorKind;

  /** @param what what did not work, in one sentence without a full stop */
  constructor(
    readonly what: string,
    detail: ErrorDetail = {},
  ) {
    super(detail.why ? `${what}: ${detail.why}` : what, { cause: detail.cause });
    this.why = detail.why;
    this.remedy = detail.remedy;
    this.kind = detail.kind ?? "failed";
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
