import type { GuestMemory } from "../memory/guest-memory.ts";
import { DESC_INDIRECT, DESC_NEXT, DESC_SIZE, isAvail, isUsed } from "./ring-format.ts";
import { readSettled } from "./settled-read.ts";

/** A place in a packed ring, with the wrap counter of the lap in which it is meant. */
export interface Place {
  readonly position: number;
  readonly wrap: number;
}

/** A chain that is available. */
export interface Chain {
  /** Buffer id: that of its last descriptor (virtio 1.3 §2.8.6). */
  readonly id: number;
  /** Descriptors of the ring. */
  readonly length: number;
  /** Low half of the first descriptor's address. */
  readonly address: number;
}

/** A copy of a packed ring's descriptors, as they stood at one moment. */
export class PackedRingImage {
  readonly #view: DataView;

  private constructor(
    readonly size: number,
    bytes: Uint8Array,
  ) {
    this.#view = new DataView(bytes.buffer);
  }

  /** Undefined where the ring changes faster than it can be read. */
  static of(
    memory: GuestMemory,
    { size, descGpa }: { size: number; descGpa: bigint },
  ): PackedRingImage | undefined {
    const bytes = readSettled(memory, descGpa, DESC_SIZE * size);
    return bytes && new PackedRingImage(size, bytes);
  }

  id(at: number): number {
    return this.#view.getUint16(DESC_SIZE * at + 12, true);
  }

  flags(at: number): number {
    return this.#view.getUint16(DESC_SIZE * at + 14, true);
  }

  isUsed({ position, wrap }: Place): boolean {
    return isUsed(this.flags(position), wrap);
  }

  isAvailable({ position, wrap }: Place): boolean {
    return isAvail(this.flags(position), wrap);
  }

  after({ position, wrap }: Place, descriptors: number): Place {
    const next = position + descriptors;
    return next < this.size ? { position: next, wrap } : { position: next - this.size, wrap: 1 - wrap };
  }

  /** Descriptors from a place to one that is less than a lap behind it. */
  distance(from: Place, to: Place): number {
    return to.position - from.position + (to.wrap === from.wrap ? 0 : this.size);
  }

  before({ position, wrap }: Place): Place {
    return position > 0 ? { position: position - 1, wrap } : { position: this.size - 1, wrap: 1 - wrap };
  }

  /** The chain that is available at a place; undefined where none is, or not to its end. */
  chainAt(start: Place): Chain | undefined {
    let at = start;
    for (let length = 1; length <= this.size; length++) {
      if (!this.isAvailable(at)) return undefined;
      const flags = this.flags(at.position);
      if ((flags & DESC_INDIRECT) !== 0 || !(flags & DESC_NEXT))
        return {
          id: this.id(at.position),
          length,
          address: this.#view.getUint32(DESC_SIZE * start.position, true),
        };
      at = this.after(at, 1);
    }
    return undefined;
  }

  /**
   * The chains that are available one after the other, up to as many as fill the ring, and the place behind them, which
   * may be one where a chain begins that is not available to its end.
   */
  chainsFrom(start: Place): { readonly chains: Chain[]; readonly end: Place; readonly descriptors: number } {
    const chains: Chain[] = [];
    let descriptors = 0;
    let end = start;
    while (descriptors < this.size) {
      const chain = this.chainAt(end);
      if (!chain) break;
      chains.push(chain);
      descriptors += chain.length;
      end = this.after(end, chain.length);
    }
    return { chains, end, descriptors };
  }

  /** Whether no descriptor has a successor in the ring. */
  get isAllSingle(): boolean {
    for (let at = 0; at < this.size; at++) {
      const flags = this.flags(at);
      if ((flags & DESC_NEXT) !== 0 && (flags & DESC_INDIRECT) === 0) return false;
    }
    return true;
  }

  /** Whether the lap of a used descriptor shows what is left of chains of several before it. */
  hasRestBefore({ position, wrap }: Place): boolean {
    for (let at = 0; at < position; at++) if (this.isAvailable({ position: at, wrap })) return true;
    return false;
  }

  /**
   * Whether the driver is about to make a chain available in a used descriptor's place: it has written the one behind,
   * and writes the first of a chain last.
   */
  isBeingTaken(used: Place): boolean {
    const { position, wrap } = this.after(used, 1);
    return this.isAvailable({ position, wrap: 1 - wrap });
  }

  /** Never written to by anybody. */
  isUntouched(at: number): boolean {
    return [0, 4, 8, 12].every((offset) => this.#view.getUint32(DESC_SIZE * at + offset, true) === 0);
  }

  /** The used descriptor that was written last; undefined where none is left, or where the copy is torn. */
  lastUsed(): Place | undefined {
    const ends = [0, 1].flatMap((wrap) => {
      let first = -1;
      let last = -1;
      for (let at = 0; at < this.size; at++) {
        if (!isUsed(this.flags(at), wrap)) continue;
        if (first < 0) first = at;
        last = at;
      }
      return first < 0 ? [] : [{ wrap, first, last }];
    });
    const [lower, higher] = ends.sort((a, b) => a.first - b.first);
    // The current lap comes from below, so that the last one is seen above it only.
    if (!lower || (higher && lower.last > higher.first)) return undefined;
    return { position: lower.last, wrap: lower.wrap };
  }

  /** Where a ring begins in which every descriptor is available; undefined when not all are. */
  fullFrom(): Place | undefined {
    const first = isAvail(this.flags(0), 1) ? 1 : 0;
    let change = 0;
    while (change < this.size && isAvail(this.flags(change), first)) change++;
    for (let at = change; at < this.size; at++) if (!isAvail(this.flags(at), 1 - first)) return undefined;
    return change === this.size ? { position: 0, wrap: first } : { position: change, wrap: 1 - first };
  }
}
