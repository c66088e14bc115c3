import { defineVerb } from "../../cli/verb.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { findDevice } from "../control/daemons.ts";
import { DEVICE } from "../control/options.ts";
import { migrationRecord } from "./record.ts";
import { renderQueues } from "./render.ts";

export default defineVerb({
  name: "migrate prepare",
  description: "Relay all rings from now on, so that a migration does not begin with it",
  options: DEVICE,
  examples: ["vdpactl migrate prepare", "vdpactl migrate prepare --pci 00:04.0"],
  async run({ options, output, log, signal }) {
    const { client, state } = await findDevice(options, signal);
    try {
      const after = await client.ask({ op: "hold", device: state.device, relay: true }, { signal });
      const record = migrationRecord(after as DeviceState);
      output.print(record, () => renderQueues(record, output));
      if (record.phase === "no front-end") {
        log.info(`${state.device} has no front-end: its rings will be relayed from their start`, {
          event: "hold_without_front_end",
          device: state.device,
        });
      }
    } catch (error) {
      if (signal.aborted) {
        log.warn(
          `${state.device} goes on to relay its rings and stays so: vdpactl migrate cancel undoes it`,
          { event: "hold_stays", device: state.device },
        );
      }
      throw error;
    } finally {
      client.close();
    }
  },
});
