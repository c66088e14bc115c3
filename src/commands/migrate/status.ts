import { LiveRegion } from "../../cli/live-region.ts";
import { flag } from "../../cli/options.ts";
import { defineVerb } from "../../cli/verb.ts";
import { findDevice, stateOf } from "../control/daemons.ts";
import { DEVICE } from "../control/options.ts";
import { pause } from "../control/pause.ts";
import { type MigrationRecord, migrationRecord } from "./record.ts";
import { renderQueues } from "./render.ts";
import { phaseLine, statusLine } from "./status-line.ts";

/** Between two looks, which do not disturb the thread that serves. */
const LOOK_MS = 200;

export default defineVerb({
  name: "migrate status",
  description: "Follow a migration: how each queue runs, and what is logged and relayed",
  options: { ...DEVICE, once: flag("show it once and end, as --json does") },
  examples: ["vdpactl migrate status", "vdpactl migrate status --pci 00:04.0 --json"],
  async run({ options, output, signal }) {
    const { client, state } = await findDevice(options, signal);
    const live = new LiveRegion(output);
    try {
      let before = { record: migrationRecord(state), at: performance.now() };
      const began = before.at;
      if (output.isJson || options.once) {
        const { record } = before;
        output.print(record, () => phaseLine(record) + "\n" + renderQueues(record, output));
        return;
      }
      if (!output.settings.terminal) output.write(phaseLine(before.record) + "\n");
      for (;;) {
        await pause(LOOK_MS, signal);
        const states = await stateOf(client, { signal });
        const at = performance.now();
        const record: MigrationRecord = migrationRecord(
          states.find(({ device }) => device === state.device) ?? state,
        );
        if (output.settings.terminal) {
          live.show(
            statusLine(record, before.record, {
              seconds: (at - before.at) / 1000,
              total: (at - began) / 1000,
            }),
          );
        } else if (phaseLine(record) !== phaseLine(before.record)) {
          output.write(phaseLine(record) + "\n");
        }
        before = { record, at };
      }
    } finally {
      live.end();
      client.close();
    }
  },
});
