import { OperatorError } from "../hw/operator-error.ts";

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

/** Runs a step in which what is wrong with the guest's ring shows as an OperatorError, and makes it a RingFault. */
export function faultOf<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw error instanceof OperatorError ? new RingFault("guest", error.message) : error;
  }
}
