// Frames that two testpmds pass back and forth: a fixed number is on its way, so nothing is ever sent faster than it
// is taken, and every frame can be accounted for at the end.
import type { PortStats, Testpmd } from "./testpmd.ts";
import { until } from "./until.ts";

export interface Circulation {
  near: PortStats;
  far: PortStats;
}

/**
 * Both in io mode; `far` forwards already. Returns the counters of both ends after all frames have come to rest at
 * the near end, once that has received at least `frames`. They go round through all that happens `meanwhile`.
 */
export async function circulate(
  near: Testpmd,
  far: Testpmd,
  frames: number,
  meanwhile?: () => Promise<void>,
): Promise<Circulation> {
  await near.run("start tx_first 1");
  await comeBack(near, frames);
  await meanwhile?.();
  await near.run("stop");
  // From here the near end only takes in what the far end still returns.
  await near.run("set fwd rxonly");
  await near.run("start");
  const sent = (await near.stats()).tx_packets;
  await settled(
    "the far end to have received all",
    () => far.stats(),
    ({ rx_packets }) => rx_packets >= sent,
  );
  await settled(
    "the near end to have all back",
    () => near.stats(),
    ({ rx_packets }) => rx_packets >= sent,
  );
  await near.run("stop");
  await near.run("set fwd io");
  return { near: await near.stats(), far: await far.stats() };
}

/** Waits until the near end has received so many more. */
export async function comeBack(near: Testpmd, frames: number): Promise<void> {
  const { rx_packets: before } = await near.stats();
  await until(
    `${frames} frames to come back`,
    async () => (await near.stats()).rx_packets >= before + frames,
  );
}

/** A frame lost is a failed check, not a failed wait: after a while the counters are taken as they are. */
async function settled(
  what: string,
  stats: () => Promise<PortStats>,
  done: (stats: PortStats) => boolean,
): Promise<void> {
  await until(what, async () => done(await stats()), 20).catch((error) => console.log(String(error)));
}
