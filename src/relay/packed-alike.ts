import type { Chain, PackedRingImage, Place } from "./packed-ring-image.ts";

const OTHERS = "its chains do not all have the same number of descriptors";

/** Where the device goes on. */
export interface Behind {
  readonly place: Place;
  /** It may be further than that. */
  readonly unsure: boolean;
}

/**
 * The place behind the last used chain of a ring whose chains all take as many descriptors as each other: where they
 * take several, what follows its used descriptor is its rest, which is one descriptor shorter than a chain.
 * @param last the used descriptor that was written last, undefined where none is left
 * @param inOrder IN_ORDER was negotiated: a used descriptor may stand for a batch, and names its last chain (§2.8.9)
 * @returns a string where the ring does not tell: why
 */
export function behindAlike(
  image: PackedRingImage,
  last: Place | undefined,
  inOrder: boolean,
): Behind | string {
  if (!last) return behindFull(image, inOrder);
  const behind = image.after(last, 1);
  const { chains } = image.chainsFrom(behind);
  if (image.isUntouched(last.position)) {
    return chains.every(({ length }) => length === chains[0]!.length)
      ? { place: behind, unsure: false }
      : OTHERS;
  }
  const singles = behindSingle(image, last, chains, inOrder);
  const several = behindSeveral(image, last, chains, inOrder);
  if (singles && several) return "what follows the used descriptor may be its chain's rest or a new chain";
  return singles ?? several ?? OTHERS;
}

/** Where all chains take one descriptor. */
function behindSingle(
  image: PackedRingImage,
  last: Place,
  chains: readonly Chain[],
  inOrder: boolean,
): Behind | undefined {
  if (!image.isAllSingle) return undefined;
  const place = image.after(last, 1);
  const named = image.id(last.position);
  const mayBeBatch = inOrder && chains.some(({ id }) => id === named);
  // Only a batch leaves available descriptors between used ones.
  if (image.hasRestBefore(last) && (!inOrder || mayBeBatch)) return undefined;
  return { place, unsure: mayBeBatch };
}

/** Where all chains take several descriptors. */
function behindSeveral(
  image: PackedRingImage,
  last: Place,
  [rest, ...others]: readonly Chain[],
  inOrder: boolean,
): Behind | undefined {
  if (!rest || others.some(({ length }) => length !== rest.length + 1)) return undefined;
  // There is a rest between two used descriptors.
  const before = image.before(last);
  if (image.isUsed(before) && !image.isUntouched(before.position)) return undefined;
  const named = [rest, ...others].findIndex(({ id }) => id === image.id(last.position));
  if (named < 0 || (named > 0 && !inOrder)) return undefined;
  return { place: image.after(last, (named + 1) * (rest.length + 1)), unsure: false };
}

/** Where every descriptor is available, the rest of a used chain perhaps among them, whose first is taken again. */
function behindFull(image: PackedRingImage, inOrder: boolean): Behind | string {
  const start = image.fullFrom();
  if (!start) return "used descriptors of two laps are mixed";
  const { chains, descriptors } = image.chainsFrom(start);
  if (descriptors < image.size) return "an available chain has no end";
  const [first, ...others] = chains;
  const length = others[0]?.length ?? first!.length;
  if (first!.length > length || others.some((chain) => chain.length !== length)) return OTHERS;
  // The rest of a batch may be whole chains.
  return { place: first!.length < length ? image.after(start, first!.length) : start, unsure: inOrder };
}
