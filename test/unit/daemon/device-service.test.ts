import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { DeviceService } from "../../../src/daemon/device-service.ts";
import { createEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { createSimLink } from "../../../src/hw/sim/link.ts";
import { eventually } from "../../support/front-end/wait.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

const LONG_MS = 20_000;
const ENTRY = join(import.meta.dir, "../../../src/daemon/worker-entry.ts");
const QUIET = { level: "quiet", format: "text", color: false, journald: false } as const;
/** A device that no machine has. */
const OTHER = "ffff:ff:1f.7";

test("after a move, a new attempt is for the device that the guest moved to", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
  const failures: string[] = [];
  const service = new DeviceService(
    {
      name: "sim",
      device: { sim: {}, switched: { faults: {}, on: true } },
      meeting: { role: "server", path: join(directory, "vhost.sock") },
      queuePairs: undefined,
      featuresMask: ~0n,
      doorbells: "auto",
      datapath: "auto",
      relayThreads: 0,
      force: false,
      trace: false,
    },
    {
      entry: ENTRY,
      log: new CollectedLog(),
      logSettings: QUIET,
      managerAddress: undefined,
      onFrontEnd: () => {},
      onReady: () => {},
      onFailed: ({ failure }) => failures.push(failure!.message) < 2,
      onEnded: () => {},
    },
  );
  service.start();
  await eventually(() => service.phase === "serving", LONG_MS, "the service");
  const link = createSimLink();
  const faultSwitch = { fd: createEventfd(), faults: { releaseRequest: true }, on: false };
  new Worker(ENTRY, { workerData: { role: "sim", link, options: {}, faultSwitch, log: QUIET } });
  await service.ask({ op: "move", bdf: OTHER, link });
  expect(service.name).toBe(OTHER);
  signalEventfd(faultSwitch.fd);
  await eventually(() => failures.length === 2, LONG_MS, "both failures");
  expect(failures[0]).toContain(`${OTHER} was asked back by the kernel`);
  expect(failures[1]).toContain(`no PCI device ${OTHER}`);
  await expect(service.ask({ op: "hold", relay: true })).rejects.toThrow(`${OTHER} is not being served`);
  service.stop();
  rmSync(directory, { recursive: true, force: true });
}, 60_000);
