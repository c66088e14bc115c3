import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "../../../src/daemon/serve.ts";
import { ServiceManager } from "../../../src/daemon/systemd/service-manager.ts";
import { OperatorError } from "../../../src/hw/operator-error.ts";
import { connectGuest } from "../../support/front-end/guest.ts";
import { exchange } from "../../support/front-end/traffic.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

test("a relay thread that dies ends the service with an error that names it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
  const path = join(directory, "vhost.sock");
  const interrupt = new AbortController();
  let error: unknown;
  let ready = () => {};
  const listening = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const served = serve(
    {
      devices: [
        {
          name: "sim",
          device: { sim: {}, switched: { faults: {}, on: true } },
          meeting: { role: "server", path },
          queuePairs: undefined,
          featuresMask: ~0n,
          doorbells: "auto",
          datapath: "relay",
          relayThreads: 2,
          force: false,
          trace: false,
        },
      ],
      runtimeDirectory: directory,
      metrics: undefined,
      logSettings: { level: "quiet", format: "text", color: false, journald: false },
      manager: new ServiceManager(undefined, new CollectedLog()),
      watchdogMs: undefined,
      entry: join(import.meta.dir, "dying-relay-entry.ts"),
      signal: interrupt.signal,
    },
    new CollectedLog(),
    () => ready(),
  ).catch((reason: unknown) => {
    error = reason;
  });
  try {
    await Promise.race([listening, served]);
    expect(error).toBeUndefined();
    const guest = await connectGuest({ socketPath: path, pairs: 2 });
    await exchange(guest, { until: () => error !== undefined, patienceMs: 500 });
    guest.close();
    await served;
    expect(error).toBeInstanceOf(OperatorError);
    expect((error as OperatorError).message).toBe("relay thread 1 is not reachable: its thread has died");
  } finally {
    interrupt.abort();
    rmSync(directory, { recursive: true, force: true });
  }
}, 60_000);
