/** Whose fault stopped a ring. */
export type FaultSide = "guest" | "device";

/**
 * What a ring can not continue after: malformed content of the guest's, or completions that no device may write.
 * `message` says what was wrong in one clause.
 */
export class RingFault extends Error {
  override readonly name = "RingFault";

  constructor(
    readonly side: FaultSide,
    message: string,
  ) {
    super(message);
  }
}
