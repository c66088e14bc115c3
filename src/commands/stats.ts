import { flag, value } from "../cli/options.ts";
import { decimal } from "../cli/values.ts";
import { defineVerb } from "../cli/verb.ts";
import { prometheusText } from "../daemon/metrics/prometheus-text.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { DEVICE } from "./control/options.ts";
import { Collector } from "./stats/collect.ts";
import { renderDevice } from "./stats/render-device.ts";
import { watch } from "./stats/watch.ts";

export default defineVerb({
  name: "stats",
  description: "Show what served devices and their queues are doing, without disturbing them",
  options: {
    ...DEVICE,
    watch: value("SECONDS", decimal(0.1, 3600), "go on, with rates for each interval (1 second)", {
      alias: ["w"],
      implied: "1",
    }),
    prometheus: flag("print it in Prometheus' text format"),
  },
  examples: [
    "vdpactl stats",
    "vdpactl stats --pci 00:04.0 --watch 5",
    "vdpactl stats --json | jq '.[].queues'",
  ],
  async run({ options, output, signal }) {
    if (options.prometheus && (options.watch !== undefined || output.isJson)) {
      throw new OperatorError("--prometheus goes with neither --watch nor --json", { kind: "usage" });
    }
    const collector = await Collector.connect(options);
    try {
      if (options.watch !== undefined) return await watch(collector, 1000 * options.watch, output, signal);
      const states = await collector.collect({ rates: false, signal });
      if (options.prometheus) output.write(prometheusText(states));
      else output.print(states, () => states.map((state) => renderDevice(state, output)).join("\n"));
      return 0;
    } finally {
      collector.close();
    }
  },
});
