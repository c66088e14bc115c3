import type { RingPosition } from "./relay.ts";

/** Where a live ring stands whose device was just reset, so that a relay can go on from there. */
export type Recovery =
  | {
      readonly kind: "recovered";
      /** For `RingRelay.start`, which forwards the entries in flight again. */
      readonly position: RingPosition;
      /** Entries (split) or descriptors (packed) that were available and not used. */
      readonly inFlight: number;
      /** Their heads, in the driver's order (split). */
      readonly heads?: readonly number[];
      /**
       * Whether the rule that it rests on, that the device completes in order, is shown by the ring itself, by
       * IN_ORDER, or does not matter as nothing is in flight. Without it the position is a guess: drain or refuse.
       */
      readonly verified: boolean;
    }
  | {
      readonly kind: "not-recoverable";
      readonly reason: string;
      /** The ring is no ring, and will not become one by what its device does. */
      readonly malformed: boolean;
      /** The ring changed faster than it could be read. */
      readonly moving: boolean;
    };

export const notRecoverable = (reason: string): Recovery => ({
  kind: "not-recoverable",
  reason,
  malformed: false,
  moving: false,
});

export const MOVING: Recovery = {
  kind: "not-recoverable",
  reason: "the ring changes faster than it can be read",
  malformed: false,
  moving: true,
};

export const malformed = (reason: string): Recovery => ({
  kind: "not-recoverable",
  reason,
  malformed: true,
  moving: false,
});
