import type { Chain, PackedRingImage, Place } from "../relay/packed-ring-image.ts";

/** The chains of a packed ring that one look saw available, to find them again at the next one. */
export class SeenChains {
  /** By first position. */
  readonly #chains = new Map<number, Chain & { readonly wrap: number }>();

  get count(): number {
    return this.#chains.size;
  }

  /** How many buffer ids they have: fewer than chains where one of them is not in flight. */
  get ids(): number {
    return new Set([...this.#chains.values()].map(({ id }) => id)).size;
  }

  /** Remembers those that are available one after the other from a place on, and no others. */
  note(image: PackedRingImage, from: Place | undefined): void {
    this.#chains.clear();
    if (!from) return;
    let at = from;
    for (const chain of image.chainsFrom(from).chains) {
      this.#chains.set(at.position, { ...chain, wrap: at.wrap });
      at = image.after(at, chain.length);
    }
  }

  /** Whether one began at a position, in whatever lap. */
  hasPosition(position: number): boolean {
    return this.#chains.has(position);
  }

  at({ position, wrap }: Place): Chain | undefined {
    const chain = this.#chains.get(position);
    return chain?.wrap === wrap ? chain : undefined;
  }

  /** Whether the chain that was seen at a place is there. */
  stands(image: PackedRingImage, place: Place): boolean {
    const seen = this.at(place);
    if (!seen) return false;
    const now = image.chainAt(place);
    return now?.id === seen.id && now.length === seen.length && now.address === seen.address;
  }

  /**
   * Whether there are some behind the last used descriptor, and all of them stand. If not, the ring went round since,
   * and what was used where it was not expected shows nothing.
   */
  standBehind(image: PackedRingImage, last: Place | undefined): boolean {
    if (!last) return false;
    let at = last;
    let stand = 0;
    for (let i = 0; i < image.size; i++) {
      at = image.after(at, 1);
      if (!this.at(at)) continue;
      if (!this.stands(image, at)) return false;
      stand++;
    }
    return stand > 0;
  }
}
