import { flag, value } from "../cli/options.ts";
import { defineVerb } from "../cli/verb.ts";
import { discardUnused } from "../daemon/meeting.ts";
import { parseMetricsAddress } from "../daemon/metrics/metrics-server.ts";
import { serve } from "../daemon/serve.ts";
import { passedSockets } from "../daemon/systemd/passed-sockets.ts";
import { watchdogPeriodMs } from "../daemon/systemd/watchdog.ts";
import { RUNTIME_DIR } from "./control/options.ts";
import { bindFirst } from "./serve/bind-first.ts";
import { DEVICE_OPTIONS, OWN_OPTIONS } from "./serve/device-options.ts";
import { deviceRequest } from "./serve/device-request.ts";
import { managerOf } from "./serve/manager.ts";
import { severalDevices } from "./serve/several-devices.ts";

/** What programs that start back-ends ask for (QEMU docs/interop/vhost-user.rst, "Backend program conventions"). */
const CAPABILITIES = { type: "net" };

export default defineVerb({
  name: "serve",
  description: "Serve virtio devices to vhost-user front-ends",
  options: {
    ...DEVICE_OPTIONS,
    "runtime-dir": RUNTIME_DIR,
    metrics: value("ADDRESS", parseMetricsAddress, "serve metrics over HTTP at ADDR:PORT or unix:PATH"),
    "print-capabilities": flag("print what this back-end can do as JSON and exit"),
  },
  tables: { name: "device", options: DEVICE_OPTIONS, own: OWN_OPTIONS },
  examples: [
    "vdpactl serve --pci 0000:00:04.0 --socket /tmp/vh.sock",
    "vdpactl serve --sim --socket /tmp/vh.sock",
    "vdpactl serve --config devices.toml",
  ],
  async run({ options, tables, output, log, logSettings, signal }) {
    if (options["print-capabilities"]) {
      output.write(JSON.stringify(CAPABILITIES, null, 2) + "\n");
      return 0;
    }
    const given = tables.length > 0 ? tables.map((table) => table.options) : [options];
    const manager = managerOf(given, log);
    const passed = passedSockets(process.env, process.pid);
    const devices = tables.length > 0 ? severalDevices(tables, passed) : [deviceRequest(options, passed)];
    discardUnused(
      passed,
      devices.map(({ meeting }) => meeting),
      manager,
      log,
    );
    await bindFirst(given, log);
    await serve(
      {
        devices,
        logSettings,
        runtimeDirectory: options["runtime-dir"],
        metrics: options.metrics,
        entry: Bun.main,
        manager,
        watchdogMs: watchdogPeriodMs(process.env, process.pid),
        signal,
      },
      log,
      (line) => output.write(`${line}\n`),
    );
    return 0;
  },
});
