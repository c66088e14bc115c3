import { PackedRelay } from "./packed-relay.ts";
import type { RelayOptions, RingRelay } from "./relay.ts";
import { SplitRelay } from "./split-relay.ts";

/**
 * The relay for a ring of this layout; `start` it before anything else.
 * @throws OperatorError when the ring is not in guest memory, misaligned, or of a size that there is not
 */
export function createRelay(packed: boolean, options: RelayOptions): RingRelay {
  return packed ? new PackedRelay(options) : new SplitRelay(options);
}
