import { waitUntil } from "../hw/virtio/bounded-wait.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type RingTraits, recover } from "./direct-position.ts";
import type { Ring } from "./ring.ts";
import { watchRing } from "./ring-watch.ts";

/** Longer than a watch needs for a packed transmit ring on which nothing happens. */
const PATIENCE_MS = 400;

/**
 * Looks at rings that are about to stop while the device still works on them. What is left in a packed ring of chains
 * does not tell where the last one ended; what is there before does, and in a transmit ring, that a device which is rung
 * leaves it. What a device that completes out of order holds of a split ring is known from a moment on at which it shows.
 * Only where there is doubt does it take a moment.
 * @returns the vring base of a ring, to be asked for once the device no longer touches it
 */
export function watchBeforeStop(
  rings: readonly Ring[],
  memory: GuestMemory,
  traits: RingTraits,
): (ring: Ring) => number {
  const watched = rings.filter(({ mode }) => mode === "direct");
  const watches = new Map(watched.map((ring) => [ring, watchRing(memory, ring.config, traits)]));
  waitUntil(() => {
    const doubtful = watched.filter((ring) => {
      if (watches.get(ring)!.look()) return false;
      const found = recover(memory, ring.config, traits);
      return found.kind === "not-recoverable" && !found.malformed;
    });
    try {
      for (const ring of doubtful) ring.kick();
    } catch {
      // A device that is gone has no doorbell, and nothing changes any more. Its stop says what is wrong with it.
      return true;
    }
    return doubtful.length === 0;
  }, PATIENCE_MS);
  return (ring) => {
    const watch = watches.get(ring);
    watch?.look();
    return watch?.leave() ?? ring.position();
  };
}
