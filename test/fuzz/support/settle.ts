import type { Guest } from "../../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../../support/front-end/traffic.ts";

class DeviceStopped extends Error {}

/** Lets the device work: frames go round on the first pair, which must not suffer, unless the device has stopped. */
export async function settle(guest: Guest, harmed: boolean, stopped: () => boolean): Promise<void> {
  await guest.fe.barrier();
  await guest.fe.barrier();
  if (harmed) return;
  const onRound = () => {
    if (stopped()) throw new DeviceStopped();
  };
  try {
    for (const from of [20_000, 30_000]) {
      const problem = trafficProblem(await exchange(guest, { frames: 8, pairs: [0], from, onRound }));
      if (problem) throw new Error(problem);
    }
  } catch (error) {
    if (!(error instanceof DeviceStopped)) throw error;
  }
}
