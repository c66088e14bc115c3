import { waitUntil } from "../hw/virtio/bounded-wait.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type RingTraits, recover } from "./direct-position.ts";
import { PackedWatch } from "./packed-watch.ts";
import type { Ring } from "./ring.ts";

/** Longer than a watch needs for a transmit ring on which nothing happens. */
const PATIENCE_MS = 400;

/**
 * Looks at rings that are about to stop while the device still works on them. Of a packed transmit ring of chains what
 * is left in it afterwards does not tell where the last one ended; what is there before, and that a device which is
 * rung leaves it, does. Only where that is in doubt does it take a moment.
 * @returns the vring base of a ring, to be asked for once the device no longer touches it
 */
export function watchBeforeStop(
  rings: readonly Ring[],
  memory: GuestMemory,
  traits: RingTraits,
): (ring: Ring) => number {
  const watched = rings.filter(({ mode, index }) => traits.packed && mode === "direct" && index % 2 === 1);
  const watches = new Map(watched.map((ring) => [ring, new PackedWatch(memory, ring.config, traits)]));
  waitUntil(() => {
    const doubtful = watched.filter(
      (ring) => !watches.get(ring)!.look() && recover(memory, ring.config, traits).kind !== "recovered",
    );
    for (const ring of doubtful) ring.kick();
    return doubtful.length === 0;
  }, PATIENCE_MS);
  return (ring) => {
    const watch = watches.get(ring);
    watch?.look();
    return watch?.base ?? ring.position();
  };
}
