import { connectGuest, type Guest, type GuestOptions } from "../../support/front-end/guest.ts";
import { exchange, type TrafficOptions, trafficProblem } from "../../support/front-end/traffic.ts";
import type { Daemon } from "./daemon.ts";

/** Sends frames through a running guest; throws unless each came back once, unchanged, on its pair. */
export async function passFrames(guest: Guest, options: TrafficOptions = { frames: 300 }): Promise<void> {
  const problem = trafficProblem(await exchange(guest, options));
  if (problem) throw new Error(problem);
}

/** A front-end connects, passes frames on all pairs, stops its rings and leaves. */
export async function wellBehaved(
  daemon: Pick<Daemon, "socketPath"> & Partial<Daemon>,
  options: GuestOptions = {},
  frames = 300,
): Promise<void> {
  daemon.assertAlive?.();
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2, ...options });
  try {
    await passFrames(guest, { frames });
    await guest.stop();
  } catch (error) {
    daemon.assertAlive?.();
    throw error;
  } finally {
    guest.close();
  }
}
