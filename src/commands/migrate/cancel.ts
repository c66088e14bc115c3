import { value } from "../../cli/options.ts";
import { integer } from "../../cli/values.ts";
import { defineVerb } from "../../cli/verb.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { findDevice, type Served, stateOf } from "../control/daemons.ts";
import { DEVICE } from "../control/options.ts";
import { pause } from "../control/pause.ts";
import { migrationRecord } from "./record.ts";
import { renderQueues } from "./render.ts";
import { untilDirect } from "./return-path.ts";

const TIMEOUT_S = 10;
/** Between two looks, which do not disturb the thread that serves. */
const LOOK_MS = 20;

export default defineVerb({
  name: "migrate cancel",
  description: "Undo prepare: let the device take its rings back, and wait for that",
  options: {
    ...DEVICE,
    timeout: value("SECONDS", integer(0, 86_400), `how long to wait, ${TIMEOUT_S} by default`),
  },
  examples: ["vdpactl migrate cancel", "vdpactl migrate cancel --timeout 0"],
  async run({ options, output, log, signal }) {
    const served = await findDevice(options, signal);
    const { device } = served.state;
    let released = false;
    try {
      await served.client.ask({ op: "hold", device, relay: false }, { signal });
      released = true;
      const state = await untilAllDirect(served, 1000 * (options.timeout ?? TIMEOUT_S), signal);
      const record = migrationRecord(state);
      output.print(record, () => renderQueues(record, output));
      for (const queue of state.queues.filter(({ mode }) => mode === "relay")) {
        log.warn(`queue ${queue.index} stays relayed ${untilDirect(state, queue)}`, {
          event: "queue_stays_relayed",
          device,
          queue: queue.index,
        });
      }
    } catch (error) {
      if (signal.aborted && released)
        log.warn(`the rings of ${device} go back by themselves as they can`, {
          event: "hold_released",
          device,
        });
      else if (signal.aborted)
        log.warn(`${device} lets its rings go all the same`, { event: "hold_released", device });
      throw error;
    } finally {
      served.client.close();
    }
  },
});

/** The device's state once no ring is relayed any more, or when the time is over. */
async function untilAllDirect(
  { client, state }: Served,
  limitMs: number,
  signal: AbortSignal,
): Promise<DeviceState> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const now = (await stateOf(client, { signal })).find(({ device }) => device === state.device) ?? state;
    const stays = now.logging || now.held || now.datapath === "relay";
    const waiting = !stays && now.queues.some(({ mode }) => mode === "relay");
    if (!waiting || performance.now() >= deadline) return now;
    await pause(LOOK_MS, signal);
  }
}
