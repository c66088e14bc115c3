import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceRequest } from "../../../src/daemon/device-request.ts";
import { serve } from "../../../src/daemon/serve.ts";
import { ServiceManager } from "../../../src/daemon/systemd/service-manager.ts";
import { connectGuest } from "../../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../../support/front-end/traffic.ts";
import { eventually } from "../../support/front-end/wait.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

const LONG_MS = 20_000;

test("a serving thread that dies takes its socket with it, and nothing of the other devices", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
  const pathOf = (name: string) => join(directory, name);
  const device = (name: string): DeviceRequest => ({
    name,
    device: { sim: {}, switched: { faults: {}, on: true } },
    meeting: { role: "server", path: pathOf(name) },
    queuePairs: undefined,
    featuresMask: ~0n,
    doorbells: "auto",
    datapath: "auto",
    relayThreads: 0,
    force: false,
    trace: false,
  });
  const names = ["sim0", "sim1", "sim2", "sim3"];
  const interrupt = new AbortController();
  const log = new CollectedLog();
  const out: string[] = [];
  const served = serve(
    {
      devices: names.map(device),
      runtimeDirectory: directory,
      metrics: undefined,
      logSettings: { level: "quiet", format: "text", color: false, journald: false },
      manager: new ServiceManager(undefined, log),
      watchdogMs: undefined,
      entry: join(import.meta.dir, "dying-device-entry.ts"),
      signal: interrupt.signal,
    },
    log,
    (line) => out.push(line),
  );
  try {
    await eventually(() => out.includes("READY devices=3 failed=1"), LONG_MS, "all devices");
    expect(log.lines.join("\n")).toMatch(/^error: sim3: the serving thread died: .*broken on purpose$/m);
    const guests = await Promise.all(
      ["sim0", "sim2"].map((name) => connectGuest({ socketPath: pathOf(name), pairs: 1 })),
    );
    let over = false;
    const traffic = guests.map((guest) => exchange(guest, { until: () => over }));
    // Nobody takes it there any more, which does not matter.
    connect(pathOf("sim1")).on("error", () => {});
    const failure = /sim1: the serving thread ended unexpectedly$/;
    await eventually(() => log.lines.some((line) => failure.test(line)), LONG_MS, "the failure");
    expect(existsSync(pathOf("sim1"))).toBe(false);
    over = true;
    for (const result of await Promise.all(traffic)) expect(trafficProblem(result)).toBeUndefined();
    // More frames, and no other connection than the first.
    for (const guest of guests) {
      expect(trafficProblem(await exchange(guest, { from: 1 << 20, frames: 300 }))).toBeUndefined();
      guest.close();
    }
  } finally {
    interrupt.abort();
  }
  await served;
  expect(names.filter((name) => existsSync(pathOf(name)))).toEqual([]);
  rmSync(directory, { recursive: true, force: true });
}, 60_000);
