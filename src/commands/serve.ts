import { flag, value } from "../cli/options.ts";
import { defineVerb, type TableValues } from "../cli/verb.ts";
import type { DeviceRequest } from "../daemon/device-request.ts";
import { discardUnused, passedFdOf } from "../daemon/meeting.ts";
import { parseMetricsAddress } from "../daemon/metrics/metrics-server.ts";
import { serve } from "../daemon/serve.ts";
import { isStillPassed, type PassedSocket, passedSockets } from "../daemon/systemd/passed-sockets.ts";
import { watchdogPeriodMs } from "../daemon/systemd/watchdog.ts";
import { RUNTIME_DIR } from "./control/options.ts";
import { bindFirst } from "./serve/bind-first.ts";
import { DEVICE_OPTIONS, type DeviceOptions, OWN_OPTIONS } from "./serve/device-options.ts";
import { deviceRequest } from "./serve/device-request.ts";
import { managerOf } from "./serve/manager.ts";
import { severalDevices } from "./serve/several-devices.ts";

interface Given {
  readonly options: DeviceOptions;
  readonly tables: readonly TableValues<typeof DEVICE_OPTIONS>[];
}

const deviceOptions = ({ options, tables }: Given): readonly DeviceOptions[] =>
  tables.length > 0 ? tables.map((table) => table.options) : [options];

const deviceRequests = ({ options, tables }: Given, passed: readonly PassedSocket[]): DeviceRequest[] =>
  tables.length > 0 ? severalDevices(tables, passed) : [deviceRequest(options, passed)];

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
  async run({ options, tables, output, log, logSettings, reread, signal }) {
    if (options["print-capabilities"]) {
      output.write(JSON.stringify(CAPABILITIES, null, 2) + "\n");
      return 0;
    }
    const given = deviceOptions({ options, tables });
    const manager = managerOf(given, log);
    const passed = passedSockets(process.env, process.pid);
    const devices = deviceRequests({ options, tables }, passed);
    const meetings = devices.map(({ meeting }) => meeting);
    discardUnused(passed, meetings, manager, log);
    await bindFirst(given, log);
    const used = new Set(meetings.map(passedFdOf));
    const usedAtStart = passed.filter(({ fd }) => used.has(fd));
    await serve(
      {
        devices,
        logSettings,
        runtimeDirectory: options["runtime-dir"],
        metrics: options.metrics,
        entry: Bun.main,
        manager,
        reread:
          reread &&
          (async () => {
            const now = await reread();
            const wanted = deviceRequests(now, usedAtStart.filter(isStillPassed));
            // An only device is not exchanged for another one.
            if (devices.length > 1) await bindFirst(deviceOptions(now), log);
            return wanted;
          }),
        watchdogMs: watchdogPeriodMs(process.env, process.pid),
        signal,
      },
      log,
      (line) => output.write(`${line}\n`),
    );
    return 0;
  },
});
