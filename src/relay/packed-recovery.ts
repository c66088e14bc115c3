import type { GuestMemory } from "../memory/guest-memory.ts";
import { notRecoverable, type Recovery } from "./recovery.ts";
import type { GuestRing } from "./relay.ts";
import { DESC_INDIRECT, DESC_NEXT, isAvail, isUsed } from "./ring-format.ts";
import { readSettled } from "./settled-read.ts";

interface Place {
  readonly position: number;
  readonly wrap: number;
}

/**
 * Position and descriptors in flight of a packed ring that the device has left. The ring has no index: the last used
 * descriptor of the current lap tells, if it can be known how many descriptors its chain had. The used descriptor has
 * taken the place of the chain's first, so a following descriptor with the same buffer id may be the rest of that
 * chain or a new one; then the answer is "not recoverable". The order of completion leaves a record only where
 * chains have several descriptors.
 * @param singleDescriptors what the caller knows of the driver: that every chain takes one descriptor of the ring,
 *   as receive buffers with MRG_RXBUF do. It removes the doubt, and is refused where the ring shows otherwise.
 * @throws OperatorError when the ring is not in guest memory
 */
export function recoverPacked(memory: GuestMemory, ring: GuestRing, singleDescriptors = false): Recovery {
  const bytes = readSettled(memory, ring.descGpa, 16 * ring.size);
  if (!bytes) return notRecoverable("the ring changes faster than it can be read");
  const view = new RingImage(bytes, ring.size);
  if (singleDescriptors && view.hasNext()) return notRecoverable("a chain has several descriptors");
  const last = view.lastUsed();
  if (typeof last === "string") return notRecoverable(last);
  if (!last && !singleDescriptors) {
    return notRecoverable(
      "no used descriptor is left, and the first available ones may be the rest of a used chain",
    );
  }
  const used = last ? view.after(last, 1) : view.fullFrom();
  if (typeof used === "string") return notRecoverable(used);
  const chains = view.chainsFrom(used);
  if (typeof chains === "string") return notRecoverable(chains);
  const { ids, descriptors } = chains;
  if (last && !singleDescriptors && !view.isUntouched(last.position)) {
    const id = view.id(last.position);
    // A batch of an IN_ORDER device is skipped up to the chain that it names, which may be any of these.
    if (ring.inOrder ? ids.includes(id) : ids[0] === id) {
      return notRecoverable(
        `descriptors with buffer id ${id} follow the used one: the end of its chain is not known`,
      );
    }
  }
  if (new Set(ids).size < ids.length) {
    return notRecoverable("a buffer id is twice among the chains in flight: completed out of order");
  }
  const order = view.orderEvidence(used);
  if (order === "broken" && ids.length > 0 && !ring.inOrder) {
    return notRecoverable(
      "a chain's descriptors have another buffer id than what was used there: out of order",
    );
  }
  const { position, wrap } = used;
  return {
    kind: "recovered",
    position: { availPosition: position, availWrap: wrap, usedPosition: position, usedWrap: wrap },
    inFlight: descriptors,
    // With all slots in flight and no id twice, every chain is in flight, whatever the order was.
    verified: descriptors === 0 || ring.inOrder || ids.length === ring.size || order === "shown",
  };
}

/** A copy of a descriptor ring. */
class RingImage {
  readonly #view: DataView;

  constructor(
    bytes: Uint8Array,
    readonly size: number,
  ) {
    this.#view = new DataView(bytes.buffer);
  }

  flags(at: number): number {
    return this.#view.getUint16(16 * at + 14, true);
  }

  id(at: number): number {
    return this.#view.getUint16(16 * at + 12, true);
  }

  isUntouched(at: number): boolean {
    return [0, 4, 8, 12].every((offset) => this.#view.getUint32(16 * at + offset, true) === 0);
  }

  hasNext(): boolean {
    return Array.from({ length: this.size }, (_, i) => i).some(
      (i) => (isAvail(this.flags(i), 0) || isAvail(this.flags(i), 1)) && (this.flags(i) & DESC_NEXT) !== 0,
    );
  }

  after({ position, wrap }: Place, count: number): Place {
    const next = position + count;
    return next < this.size ? { position: next, wrap } : { position: next - this.size, wrap: 1 - wrap };
  }

  /** The used descriptor that was written last, undefined where none is to be seen; a string says what is wrong. */
  lastUsed(): Place | string | undefined {
    const ends = [0, 1].map((wrap) => {
      const at = Array.from({ length: this.size }, (_, i) => i).filter((i) => isUsed(this.flags(i), wrap));
      return { wrap, first: at[0], last: at[at.length - 1] };
    });
    const seen = ends.filter((end) => end.first !== undefined).sort((a, b) => a.first! - b.first!);
    const [lower, higher] = seen;
    if (!lower) return undefined;
    // The current lap has come from below, so that the last one is only seen above it.
    if (higher && lower.last! > higher.first!) return "used descriptors of two laps are mixed";
    return { position: lower.last!, wrap: lower.wrap };
  }

  /** Where a ring begins in which every descriptor is available. */
  fullFrom(): Place | string {
    const first = isAvail(this.flags(0), 1) ? 1 : 0;
    let change = 1;
    while (change < this.size && isAvail(this.flags(change), first)) change++;
    for (let at = change; at < this.size; at++) {
      if (!isAvail(this.flags(at), 1 - first)) return "available descriptors of two laps are mixed";
    }
    return change === this.size ? { position: 0, wrap: first } : { position: change, wrap: 1 - first };
  }

  /** The buffer ids of the available chains from a place on, and how many descriptors they have. */
  chainsFrom(start: Place): { ids: number[]; descriptors: number } | string {
    const ids: number[] = [];
    let descriptors = 0;
    let at = start;
    while (descriptors < this.size && isAvail(this.flags(at.position), at.wrap)) {
      for (;;) {
        if (descriptors++ === this.size || !isAvail(this.flags(at.position), at.wrap))
          return "an available chain has no end";
        const flags = this.flags(at.position);
        const id = this.id(at.position);
        at = this.after(at, 1);
        if ((flags & DESC_INDIRECT) !== 0 || !(flags & DESC_NEXT)) {
          ids.push(id);
          break;
        }
      }
    }
    return { ids, descriptors };
  }

  /** What the rests of used chains of this lap, which end with their buffer id, say about the order of completion. */
  orderEvidence({ position: end, wrap }: Place): "shown" | "broken" | "none" {
    let shown = false;
    let head = -1;
    for (let at = 0; at < end; at++) {
      if (isUsed(this.flags(at), wrap)) head = at;
      else if (head >= 0 && !(this.flags(at) & DESC_NEXT)) {
        if (this.id(at) !== this.id(head)) return "broken";
        shown = true;
      }
    }
    return shown ? "shown" : "none";
  }
}
