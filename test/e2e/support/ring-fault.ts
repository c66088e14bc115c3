import { expect } from "bun:test";
import type { Guest, GuestOptions } from "../../support/front-end/guest.ts";
import { startRing } from "../../support/front-end/sequences.ts";
import { eventually } from "../../support/front-end/wait.ts";
import { ONCE_MS } from "./daemon.ts";
import type { HostileStage } from "./hostile-stage.ts";
import { RawRing } from "./raw-ring.ts";
import { passFrames } from "./well-behaved.ts";

export const RING_SIZE = 64;

/** Two pairs with traffic behind them, of which the second one's ring is now the test's. */
export interface Victim {
  readonly guest: Guest;
  readonly raw: RawRing;
}

export async function victim(
  stage: HostileStage,
  { queue = 3, ...options }: GuestOptions & { queue?: number },
): Promise<Victim> {
  const guest = await stage.guest({ pairs: 2, indirect: true, ringSize: RING_SIZE, ...options });
  // So that positions are not those of a fresh ring, with the packed one in its second lap.
  await passFrames(guest, { frames: 37 });
  const { tx } = guest.pairs[1]!;
  await eventually(
    () => {
      guest.pairs[1]!.reclaim();
      return tx.idle.length === tx.buffers.length;
    },
    ONCE_MS,
    "all transmitted buffers back",
  );
  // The kicks of the last receive buffers are handled, whichever of several events came first.
  await guest.fe.barrier();
  await guest.fe.barrier();
  const region = guest.regions[queue % guest.regions.length]!;
  return { guest, raw: new RawRing(guest.machine.queues[queue]!, options.packed ?? false, region) };
}

export const complaints = (stage: HostileStage, mark: number): string[] => stage.daemon.complaints(mark);

/** Stops both rings of the second pair, starts them afresh and passes frames. */
export async function restartSecondPair(guest: Guest): Promise<void> {
  const pair = guest.pairs[1]!;
  for (const queue of pair.queues) await guest.fe.getVringBase(queue.index);
  for (const queue of pair.queues) {
    queue.reset();
    await startRing(guest.fe, queue);
  }
  pair.refill();
  await passFrames(guest, { frames: 100, from: 30_000 });
}

/**
 * What `spoil` writes must stop its ring, with one line; the others go on, the ring tells where it was, and can be
 * started anew.
 */
export async function stopsRing(
  stage: HostileStage,
  options: GuestOptions & { queue?: number },
  reason: RegExp,
  spoil: (victim: Victim) => void,
): Promise<void> {
  const hit = await victim(stage, options);
  const { guest, raw } = hit;
  const { index } = raw.queue;
  const mark = stage.daemon.log.length;
  spoil(hit);
  await stage.daemon.logged(
    new RegExp(`queue ${index} stops after a fault of the guest's in its ring`),
    mark,
  );
  expect(complaints(stage, mark)).toEqual([expect.stringMatching(reason)]);
  // It stays stopped, whatever is asked of it, and says nothing more.
  raw.queue.signal();
  await passFrames(guest, { frames: 100, pairs: [0], from: 10_000 });
  expect(complaints(stage, mark)).toHaveLength(1);
  const base = await guest.fe.getVringBase(index);
  if (index % 2 === 1) expect(base).toBe(raw.base);
  await restartSecondPair(guest);
  expect(complaints(stage, mark)).toHaveLength(1);
}
