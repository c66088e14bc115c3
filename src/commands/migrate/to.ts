import { list } from "../../cli/options.ts";
import { defineVerb } from "../../cli/verb.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import { parseBdf } from "../../hw/pci/bdf.ts";
import { findDevice } from "../control/daemons.ts";
import { DEVICE } from "../control/options.ts";
import { duration } from "./render.ts";

/** What a move has come to. These are the keys of its JSON too (docs/cli.md). */
export interface MoveRecord {
  readonly from: string;
  readonly to: string;
  /** From the moment at which the old device got nothing new until the new one was connected. */
  readonly gap_us: number;
  /** Where each ring goes on, as a vring base, and how. */
  readonly queues: readonly {
    readonly index: number;
    readonly base: number;
    readonly mode: "direct" | "relay";
  }[];
}

/** A large guest's memory is mapped for the new device first. */
const LIMIT_MS = 3_600_000;

export default defineVerb({
  name: "migrate to",
  description: "Move the running guest to another local device",
  options: { ...DEVICE, to: list("PCI", parseBdf, "the device to move to, bound to vfio-pci") },
  positional: "to",
  examples: ["vdpactl migrate to 00:05.0", "vdpactl migrate to 00:05.0 --pci 00:04.0"],
  async run({ options, output, log, signal }) {
    const [bdf, ...more] = options.to;
    if (bdf === undefined || more.length > 0) {
      throw new OperatorError("to which device is the guest to move?", {
        why: bdf === undefined ? "none is given" : `${options.to.length} are given`,
        remedy: "vdpactl migrate to PCI",
        kind: "usage",
      });
    }
    const { client, state } = await findDevice(options, signal);
    try {
      const request = { op: "move", device: state.device, to: bdf } as const;
      const record = (await client.ask(request, { limitMs: LIMIT_MS, signal })) as MoveRecord;
      output.print(record, () => {
        const { from, to, gap_us, queues } = record;
        const modes = output.columns(
          ["QUEUE", "BASE", "MODE"],
          queues.map(({ index, base, mode }) => [String(index), `0x${base.toString(16)}`, mode]),
        );
        return `${from} moved to ${to}, ${duration(gap_us)} without packets\n${modes}`;
      });
    } catch (error) {
      if (signal.aborted)
        log.warn("the daemon goes on with the move: vdpactl stats shows where the guest is", {
          event: "move_goes_on",
        });
      throw error;
    } finally {
      client.close();
    }
  },
});
