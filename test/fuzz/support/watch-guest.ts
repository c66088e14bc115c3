import type { Segment } from "../../support/front-end/driver-ring.ts";
import type { Guest } from "../../support/front-end/guest.ts";
import type { GuestBuffer } from "../../support/front-end/guest-memory.ts";
import { MemoryWatch, type Range } from "./memory-watch.ts";
import { offeredBuffers } from "./offered.ts";

const BUFFER = 2048;

/** Memory as it is now, and who may write what of it until the rings have stopped. The first pair behaves. */
export function watchMemory(guest: Guest, packed: boolean): MemoryWatch {
  const watch = new MemoryWatch(guest.regions);
  const whole = ({ gpa, u8 }: GuestBuffer): Range => ({ gpa, bytes: u8.length });
  for (const { index, ring, buffers } of guest.machine.queues) {
    const good = index < 2;
    const { desc, avail, used, size } = ring;
    for (const part of [desc, avail, used]) {
      watch.treasure(whole(part));
      if (good) watch.ignore(whole(part));
    }
    for (const { chain } of buffers) {
      const [{ low, high }] = chain.segments as [Segment];
      const area = { gpa: BigInt(high) * 2n ** 32n + BigInt(low), bytes: BUFFER };
      if (chain.table) watch.treasure(whole(chain.table));
      if (!good) continue;
      watch.treasure(area);
      watch.ignore(area);
      if (chain.table) watch.ignore(whole(chain.table));
    }
    if (good) continue;
    watch.allow(whole(used));
    // The relay writes descriptors (packed), or heads of entries that it gives back (split).
    if (packed) watch.allow(whole(desc));
    else watch.allow({ gpa: avail.gpa + 4n, bytes: 2 * size });
    // Which interrupts the driver wants, it says all the time.
    watch.ignore(packed ? whole(avail) : { gpa: avail.gpa + BigInt(4 + 2 * size), bytes: 2 });
  }
  for (const queue of guest.pairs[1]!.queues) {
    for (const buffer of offeredBuffers(queue, packed, watch)) watch.offer(buffer);
  }
  return watch;
}
