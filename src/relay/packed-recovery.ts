import type { GuestMemory } from "../memory/guest-memory.ts";
import { behindAlike } from "./packed-alike.ts";
import { PackedRingImage, type Place } from "./packed-ring-image.ts";
import { MOVING, notRecoverable, type Recovery } from "./recovery.ts";
import type { GuestRing } from "./relay.ts";
import { DESC_NEXT } from "./ring-format.ts";

/**
 * Position and descriptors in flight of a packed ring that the device has left. The ring has no index: the last used
 * descriptor of the current lap tells, if it can be known how many descriptors its chain had. The used descriptor has
 * taken the place of the chain's first, so a following descriptor with the same buffer id may be the rest of that
 * chain or a new one; then the answer is "not recoverable". The order of completion leaves a record only where
 * chains have several descriptors.
 * @param alike what the caller knows of the driver: that every chain takes as many descriptors of the ring as every
 *   other, as receive buffers do. It removes the doubt, and is refused where the ring shows otherwise.
 * @throws OperatorError when the ring is not in guest memory
 */
export function recoverPacked(memory: GuestMemory, ring: GuestRing, alike = false): Recovery {
  const image = PackedRingImage.of(memory, ring);
  if (!image) return MOVING;
  const last = image.lastUsed();
  if (!last && !alike) {
    return notRecoverable(
      "no used descriptor is left, and the first available ones may be the rest of a used chain",
    );
  }
  if (last && image.isBeingTaken(last)) return notRecoverable("a chain is being made available");
  const found = alike
    ? behindAlike(image, last, ring.inOrder)
    : { place: image.after(last!, 1), unsure: false };
  if (typeof found === "string") return notRecoverable(found);
  const { place: used, unsure } = found;
  const { chains, end, descriptors } = image.chainsFrom(used);
  if (descriptors < image.size && image.isAvailable(end))
    return notRecoverable("an available chain has no end");
  if (last && !alike && !image.isUntouched(last.position)) {
    const id = image.id(last.position);
    // A batch of an IN_ORDER device is skipped up to the chain that it names, which may be any of these.
    if (ring.inOrder ? chains.some((chain) => chain.id === id) : chains[0]?.id === id) {
      return notRecoverable(
        `descriptors with buffer id ${id} follow the used one: the end of its chain is not known`,
      );
    }
  }
  if (new Set(chains.map(({ id }) => id)).size < chains.length) {
    return notRecoverable("a buffer id is twice among the chains in flight: completed out of order");
  }
  const order = orderEvidence(image, used);
  if (order === "broken" && chains.length > 0 && !ring.inOrder) {
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
    verified:
      !unsure && (descriptors === 0 || ring.inOrder || chains.length === ring.size || order === "shown"),
  };
}

/** What the rests of used chains of this lap, which end with their buffer id, say about the order of completion. */
function orderEvidence(image: PackedRingImage, { position: end, wrap }: Place): "shown" | "broken" | "none" {
  let shown = false;
  let head = -1;
  for (let at = 0; at < end; at++) {
    if (image.isUsed({ position: at, wrap })) head = at;
    else if (head >= 0 && !(image.flags(at) & DESC_NEXT)) {
      if (image.id(at) !== image.id(head)) return "broken";
      shown = true;
    }
  }
  return shown ? "shown" : "none";
}
