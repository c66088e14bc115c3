import { OperatorError } from "../hw/operator-error.ts";
import { waitUntil } from "../hw/virtio/bounded-wait.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type RingTraits, recover } from "./direct-position.ts";
import { OrderWatch } from "./order-watch.ts";
import type { Ring } from "./ring.ts";

/** How long the device may take to finish what rings without a certain position hold. */
const DRAIN_MS = 1000;

/**
 * Returns at a moment at which all these direct rings show their position for certain, so that each can go on
 * elsewhere. Where one does not, the device gets nothing new until it does; without kicks it runs dry. A receive ring
 * that shows nothing to the contrary passes for one used in order.
 * @throws OperatorError when that takes too long; the rings go on as before
 */
export function awaitPosition(rings: readonly Ring[], memory: GuestMemory, traits: RingTraits): void {
  const watches = new Map(
    rings
      // Receive buffers of one descriptor each, as drivers post them.
      .filter(({ index }) => traits.packed && index % 2 === 0)
      .map((ring) => [ring, new OrderWatch(memory, ring.config, traits)]),
  );
  const doubt = (ring: Ring): string | undefined => {
    const found = recover(memory, ring.config, traits);
    if (found.kind !== "recovered") return found.reason;
    const certain = found.verified || watches.get(ring)?.look();
    return certain ? undefined : "the order in which the device completes its entries does not show";
  };
  const allCertain = () => rings.every((ring) => doubt(ring) === undefined);
  if (allCertain()) return;
  for (const ring of rings) ring.cut();
  if (waitUntil(allCertain, DRAIN_MS)) return;
  // A receive ring without traffic never shows its order. Refusing would end the guest, as QEMU aborts when logging is
  // refused; network devices fill receive buffers in order, and the ring's warning says that it is taken for granted.
  const idleReceive = (ring: Ring) =>
    watches.get(ring)?.broken === false && recover(memory, ring.config, traits).kind === "recovered";
  if (rings.every((ring) => doubt(ring) === undefined || idleReceive(ring))) return;
  const doubtful = rings.find((ring) => doubt(ring) !== undefined && !idleReceive(ring));
  const why = doubtful && doubt(doubtful);
  for (const ring of rings) ring.connect();
  throw new OperatorError(`queue ${doubtful?.index ?? "?"} can not be relayed from where it is`, {
    why: `${why ?? "its position showed too late"}, and it did not run dry within ${DRAIN_MS} ms`,
    remedy: "serve the device with --datapath relay",
  });
}
