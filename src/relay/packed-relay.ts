import { OperatorError } from "../hw/operator-error.ts";
import { PackedCompletion } from "./packed-completion.ts";
import type { RelayOptions, RingPosition, RingRelay } from "./relay.ts";
import { availFlags } from "./ring-format.ts";

/**
 * A packed ring that the device sees as a ring of ours: descriptors are rewritten into it with our position, wrap
 * counter and buffer ids; completions are written back with the guest's, in the device's order. Indirect tables are
 * the guest's own.
 */
export class PackedRelay extends PackedCompletion implements RingRelay {
  /** @throws OperatorError when the ring is not in guest memory or its size is none of a packed ring */
  constructor(options: RelayOptions) {
    super(options);
    this.clear();
  }

  start({ usedPosition, usedWrap }: RingPosition): void {
    if (!(usedPosition >= 0 && usedPosition < this.ring.size)) {
      throw new OperatorError(`a packed ring of ${this.ring.size} entries can not start at ${usedPosition}`, {
        kind: "protocol",
      });
    }
    this.clear();
    this.availPosition = usedPosition;
    this.availWrap = usedWrap;
    this.usedPosition = usedPosition;
    this.usedWrap = usedWrap;
    this.limitFeed(this.limited);
  }

  closeHoles(): RingPosition {
    try {
      this.#rewriteOutstanding();
    } catch (error) {
      this.fail(error);
    }
    return this.base();
  }

  /** The chains take as many descriptors as lie between the used and the available position, whatever their order. */
  #rewriteOutstanding(): void {
    let at = this.usedPosition;
    let wrap = this.usedWrap;
    for (const id of this.heldInOrder()) {
      const { words } = this.saved;
      for (let saved = id; saved >= 0; saved = this.saved.next(saved)) {
        const flags = (words[4 * saved + 3]! >>> 16) | availFlags(wrap);
        this.guest.rewrite(at, words, 4 * saved, (flags << 16) | this.saved.guestId(id));
        if (++at === this.ring.size) {
          at = 0;
          wrap ^= 1;
        }
      }
      this.record.finish(id, this.dataLog);
    }
  }
}
