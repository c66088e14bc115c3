import { EXIT } from "../../cli/exit-code.ts";
import { value } from "../../cli/options.ts";
import { text } from "../../cli/values.ts";
import { defineVerb } from "../../cli/verb.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import { DEVICE } from "../control/options.ts";
import { differences } from "./check/differences.ts";
import { localNeeds } from "./check/local.ts";
import { readProbeFile } from "./check/probe-file.ts";

export default defineVerb({
  name: "migrate check",
  description: "Compare a device with another machine's before a guest moves there",
  options: {
    ...DEVICE,
    with: value("FILE", text, "what vdpactl probe PCI --json printed on the other side"),
  },
  examples: [
    "vdpactl migrate check --with other.json",
    "vdpactl migrate check --with other.json --pci 00:04.0",
  ],
  async run({ options, output, log, signal }) {
    if (options.with === undefined) {
      throw new OperatorError("with which device is this one to be compared?", {
        why: "--with is missing",
        remedy: "on the other side: vdpactl probe PCI --json > FILE",
        kind: "usage",
      });
    }
    const other = readProbeFile(options.with);
    if (!other.features) {
      throw new OperatorError(`${options.with} does not tell the features of ${other.bdf}`, {
        why: "a process had the device when it was probed",
        remedy: "probe it before it is served",
        kind: "usage",
      });
    }
    const needs = await localNeeds(options, log, signal);
    const found = differences(needs, other);
    const fits = found.length === 0;
    output.print({ fits, here: needs, there: other.bdf, differences: found }, () =>
      fits
        ? `fits: ${needs.in_use ? "what the guest uses" : "what a guest may use"} of ${needs.device} is there\n`
        : output.columns(
            ["DIFFERENCE", "HERE", "THERE"],
            found.map(({ what, here, there }) => [what, here, there]),
          ),
    );
    if (!fits && other.features.source === "kernel") {
      log.warn(
        `${other.bdf} was probed under a kernel driver and may offer more: probe it bound to vfio-pci`,
        { event: "probe_incomplete", device: other.bdf },
      );
    }
    return fits ? EXIT.ok : EXIT.migration;
  },
});
