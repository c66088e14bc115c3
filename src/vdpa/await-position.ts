import { OperatorError } from "../hw/operator-error.ts";
import { waitUntil } from "../hw/virtio/bounded-wait.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type RingTraits, recover } from "./direct-position.ts";
import type { Ring } from "./ring.ts";
import { watchRing } from "./ring-watch.ts";

/** How long to wait for what rings do not show at once. */
const PATIENCE_MS = 1000;
/** Far longer than a driver is in the middle of making a chain available. */
const MOMENT_MS = 100;

/**
 * Returns at a moment at which all these direct rings show their position for certain, so that each can go on
 * elsewhere. Where they do not at once, their doorbells are cut, and rung between the looks, so that the device does
 * not outrun them and the guest's traffic, which alone shows it, goes on. A packed receive ring that shows nothing to
 * the contrary passes for one used in order.
 * @returns the vring base of a ring, to be asked for once the device no longer touches it
 * @throws OperatorError when that takes too long; the rings go on as before
 */
export function awaitPosition(
  rings: readonly Ring[],
  memory: GuestMemory,
  traits: RingTraits,
): (ring: Ring) => number {
  const watches = new Map(rings.map((ring) => [ring.index, watchRing(memory, ring.config, traits)]));
  const isCertain = (ring: Ring) => watches.get(ring.index)?.look() === true;
  const reasonFor = (ring: Ring): string => {
    const found = recover(memory, ring.config, traits);
    if (found.kind !== "recovered") return found.reason;
    // One look shows what is likely; the watch knows better.
    if (watches.get(ring.index)?.broken) return "the device was seen to complete its entries out of order";
    return "the order in which the device completes its entries does not show";
  };
  const baseOf = (ring: Ring): number => {
    const watch = watches.get(ring.index);
    watch?.look();
    return watch?.leave() ?? ring.position();
  };
  const allCertain = () => {
    // Each ring is looked at, as what it shows is followed from look to look.
    const doubtful = rings.filter((ring) => !isCertain(ring));
    if (doubtful.length === 0) return true;
    for (const ring of rings) ring.kick();
    return false;
  };
  if (!traits.packed && rings.every(isCertain)) return baseOf;
  for (const ring of rings) ring.cut();
  if (waitUntil(allCertain, PATIENCE_MS)) return baseOf;
  // A receive ring without traffic never shows its order, nor does one that is filled faster than it can be read.
  // Refusing would end the guest, as QEMU aborts when logging is refused; network devices fill receive buffers in order,
  // and the ring's warning says that it is taken for granted.
  const maySeemOrdered = (ring: Ring) => {
    if (!traits.packed || ring.index % 2 !== 0 || watches.get(ring.index)?.broken !== false) return false;
    const found = recover(memory, ring.config, traits);
    return found.kind === "recovered" || found.moving;
  };
  const mayGoOn = () => rings.every((ring) => isCertain(ring) || maySeemOrdered(ring));
  if (waitUntil(mayGoOn, MOMENT_MS)) return baseOf;
  const doubtful = rings.find((ring) => !isCertain(ring) && !maySeemOrdered(ring));
  if (!doubtful) return baseOf;
  // While the ring still stands as it was looked at.
  const reason = reasonFor(doubtful);
  for (const ring of rings) ring.connect();
  throw new OperatorError(`queue ${doubtful.index} can not be relayed from where it is`, {
    why: `${reason}, and that did not change within ${PATIENCE_MS} ms`,
    remedy: "serve the device with --datapath relay",
  });
}
