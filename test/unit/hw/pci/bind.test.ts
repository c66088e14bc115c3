import { afterEach, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Log } from "../../../../src/hw/log.ts";
import { executePlan } from "../../../../src/hw/pci/bind.ts";
import { type BindAction, planBinding } from "../../../../src/hw/pci/bind-plan.ts";
import { findPciDevice } from "../../../../src/hw/pci/device.ts";
import { originalDriver, rememberDriver, rememberedDevices } from "../../../../src/hw/pci/original-driver.ts";
import { FakeHost } from "./fake-host.ts";
import { FakeKernel } from "./fake-kernel.ts";

const A = "0000:00:04.0";
const B = "0000:00:05.0";
const BIND: BindAction = { kind: "bind", driver: "vfio-pci" };
const RESTORE: BindAction = { kind: "restore" };

let host: FakeHost;
let kernel: FakeKernel;
let lines: string[];
const log = Object.fromEntries(
  ["debug", "info", "warn", "error"].map((level) => [
    level,
    (text: string) => lines.push(`${level}: ${text}`),
  ]),
) as unknown as Log;

const run = (
  bdfs: string[],
  action: BindAction,
  more: { force?: boolean; owner?: { uid: number; gid: number }; signal?: AbortSignal } = {},
) =>
  executePlan(planBinding({ bdfs, action, force: more.force ?? false, owner: more.owner }, host), log, {
    host,
    system: kernel,
    signal: more.signal,
  });
const driverOf = (bdf: string) => findPciDevice(bdf, host).driver;
const overrideOf = (bdf: string) => findPciDevice(bdf, host).driver_override;

beforeEach(() => {
  host = new FakeHost();
  kernel = new FakeKernel(host);
  lines = [];
  host.device(A, { driver: "virtio-pci", group: 1 }).device(B, { driver: "virtio-pci", group: 2 });
});
afterEach(() => host.remove());

test("binding and restoring in another process", async () => {
  expect(await run([A, B], BIND)).toEqual([
    {
      bdf: A,
      driver_before: "virtio-pci",
      driver_after: "vfio-pci",
      iommu_group: 1,
      changed: true,
      persistent: false,
    },
    {
      bdf: B,
      driver_before: "virtio-pci",
      driver_after: "vfio-pci",
      iommu_group: 2,
      changed: true,
      persistent: false,
    },
  ]);
  expect(rememberedDevices(host)).toEqual([A, B]);
  await run([A], RESTORE);
  expect([driverOf(A), overrideOf(A), driverOf(B)]).toEqual(["virtio-pci", undefined, "vfio-pci"]);
  expect(rememberedDevices(host)).toEqual([B]);
});

test("already bound is a success and writes nothing", async () => {
  await run([A], BIND);
  kernel.writes.length = 0;
  expect(await run([A], BIND)).toMatchObject([{ bdf: A, changed: false, driver_after: "vfio-pci" }]);
  expect(kernel.writes).toEqual([]);
  expect(originalDriver(A, host)).toEqual({ driver: "virtio-pci", driver_override: undefined });
});

test("a device named twice is bound once", async () => {
  expect(await run([A, A], BIND)).toHaveLength(1);
});

test("restoring twice is a success", async () => {
  await run([A], BIND);
  await run([A], RESTORE);
  expect(await run([A], RESTORE)).toMatchObject([{ bdf: A, changed: false, driver_after: "virtio-pci" }]);
});

test("restoring a device that somebody else gave to vfio-pci lets the kernel choose", async () => {
  host.device(A, { driver: "vfio-pci", driver_override: "vfio-pci", group: 1 });
  expect(await run([A], RESTORE)).toMatchObject([{ driver_after: "virtio-pci", changed: true }]);
});

test("an override and a missing driver come back as they were", async () => {
  host.device(A, { driver: "virtio-pci", driver_override: "virtio-pci", group: 1 });
  host.bind(B, undefined);
  await run([A, B], BIND);
  await run([A, B], RESTORE);
  expect([driverOf(A), overrideOf(A)]).toEqual(["virtio-pci", "virtio-pci"]);
  expect([driverOf(B), overrideOf(B)]).toEqual([undefined, undefined]);
});

test("unbinding leaves no driver and remembers the one it had", async () => {
  await run([A], { kind: "unbind" });
  expect([driverOf(A), overrideOf(A)]).toEqual([undefined, undefined]);
  await run([A], RESTORE);
  expect(driverOf(A)).toBe("virtio-pci");
});

test("from one VFIO driver to another, the first driver is still remembered", async () => {
  await run([A], BIND);
  await run([A], { kind: "bind", driver: "virtio_vfio_pci" });
  expect(originalDriver(A, host)?.driver).toBe("virtio-pci");
});

test("when the second device fails, the first goes back", async () => {
  kernel.refuses.add(`${B} vfio-pci`);
  const failure = run([A, B], BIND);
  await expect(failure).rejects.toMatchObject({ what: `${B} was not taken by vfio-pci`, kind: "failed" });
  expect([driverOf(A), overrideOf(A), driverOf(B), overrideOf(B)]).toEqual([
    "virtio-pci",
    undefined,
    "virtio-pci",
    undefined,
  ]);
  expect(rememberedDevices(host)).toEqual([]);
  expect(lines).toContain(`warn: ${A} is back at virtio-pci`);
});

test("a rollback that fails is told", async () => {
  kernel.refuses.add(`${A} vfio-pci`).add(`${A} virtio-pci`);
  await expect(run([A], BIND)).rejects.toThrow("was not taken by vfio-pci");
  expect(lines.filter((line) => line.startsWith("error:"))).toEqual([
    `error: ${A} could not be put back to virtio-pci: ${A} was not taken by virtio-pci: it has no driver now`,
  ]);
});

test("an interrupt between two writes puts everything back", async () => {
  const controller = new AbortController();
  kernel.onWrite = ({ path }) => {
    if (path.includes(B)) controller.abort(new Error("interrupted"));
  };
  await expect(run([A, B], BIND, { signal: controller.signal })).rejects.toThrow("interrupted");
  expect([driverOf(A), driverOf(B)]).toEqual(["virtio-pci", "virtio-pci"]);
});

test("a device that is not released is left to the kernel, the others go back", async () => {
  await run([B], BIND);
  host.holder(900, "qemu", [`${host.dev}/vfio/2`]);
  kernel.held.add(B);
  kernel.writes.length = 0;
  await expect(run([A, B], { kind: "bind", driver: "other" }, { force: true })).rejects.toMatchObject({
    what: "the device was not released in time",
  });
  expect(kernel.writes.find(({ path }) => path.endsWith(`${B}/driver/unbind`))?.mayBlock).toBe(true);
  expect(
    kernel.writes.filter(({ path }) => path.includes(B)).map(({ path }) => path.split("/").at(-1)),
  ).toEqual(["driver_override", "unbind"]);
  expect(driverOf(A)).toBe("virtio-pci");
});

test("modules are loaded only for drivers that are missing", async () => {
  await run([A], BIND);
  expect(kernel.loaded).toEqual([]);
  await run([B], { kind: "bind", driver: "virtio_vfio_pci" });
  expect(kernel.loaded).toEqual(["virtio_vfio_pci"]);
});

test("device nodes are given away, also of devices bound before", async () => {
  await run([A], BIND);
  host.file(`sys/bus/pci/devices/${A}/vfio-dev/vfio0/dev`, "511:0\n");
  await run([A], BIND, { owner: { uid: 1000, gid: 1001 } });
  expect(kernel.chowns).toEqual([
    { path: `${host.dev}/vfio/1`, owner: { uid: 1000, gid: 1001 } },
    { path: `${host.dev}/vfio/devices/vfio0`, owner: { uid: 1000, gid: 1001 } },
  ]);
});

test("a group's node is given away once", async () => {
  host.device(B, { driver: "virtio-pci", group: 1 });
  await run([A, B], BIND, { owner: { uid: 1000, gid: 1001 } });
  expect(kernel.chowns.map(({ path }) => path)).toEqual([`${host.dev}/vfio/1`]);
});

test("what a dry run could not name is given away once the device is bound", async () => {
  kernel.onWrite = ({ path }) => {
    if (path.endsWith("/drivers_probe")) host.file(`sys/bus/pci/devices/${A}/vfio-dev/vfio3/dev`, "511:3\n");
  };
  await run([A], BIND, { owner: { uid: 1000, gid: 1001 } });
  expect(kernel.chowns.map(({ path }) => path)).toEqual([
    `${host.dev}/vfio/1`,
    `${host.dev}/vfio/devices/vfio3`,
  ]);
});

test("a node that this kernel does not have is not waited for", async () => {
  await run([A], BIND);
  // What a kernel without VFIO_DEVICE_CDEV shows.
  host.directory(`sys/bus/pci/devices/${A}/vfio-dev/vfio0/power`);
  await run([A], BIND, { owner: { uid: 1000, gid: 1001 } });
  expect(kernel.chowns.map(({ path }) => path)).toEqual([`${host.dev}/vfio/1`]);
});

test("a device in use is refused, unless forced", async () => {
  host.device(A, { driver: "virtio-pci", group: 1, virtio: { name: "virtio0", driver: "virtio_net" } });
  host.netdev(A, "virtio0", "eth0", { addresses: ["192.0.2.1/24"] });
  expect(() => planBinding({ bdfs: [B, A], action: BIND, force: false }, host)).toThrow(
    expect.objectContaining({ kind: "refused", what: `${A} is in use`, why: "eth0 is up with 192.0.2.1/24" }),
  );
  expect(kernel.writes).toEqual([]);
  await run([A], BIND, { force: true });
  expect(driverOf(A)).toBe("vfio-pci");
});

test("a device that a process holds is not unbound", async () => {
  await run([A], BIND);
  host.holder(77, "vdpactl", [`${host.dev}/vfio/1`]);
  expect(() => planBinding({ bdfs: [A], action: RESTORE, force: false }, host)).toThrow(
    expect.objectContaining({ kind: "refused", why: "process 77 (vdpactl) holds it" }),
  );
});

test("a shared group names what else must go, and is taken as a whole", async () => {
  host.device(B, { driver: "virtio-pci", group: 1 });
  expect(() => planBinding({ bdfs: [A], action: BIND, force: false }, host)).toThrow(
    expect.objectContaining({
      kind: "refused",
      why: expect.stringContaining(`${B} is bound to virtio-pci`),
      remedy: `vdpactl bind ${A} ${B}`,
    }),
  );
  await run([A, B], BIND);
  expect([driverOf(A), driverOf(B)]).toEqual(["vfio-pci", "vfio-pci"]);
});

test("without an IOMMU the host is not ready", () => {
  host.device("0000:00:06.0", { driver: "virtio-pci" });
  expect(() => planBinding({ bdfs: ["0000:00:06.0"], action: BIND, force: false }, host)).toThrow(
    expect.objectContaining({ kind: "not-ready", why: "no IOMMU translates for this device" }),
  );
});

test("forgetting a driver is root's, also where nothing else is to be done", async () => {
  rememberDriver(A, { driver: "virtio-pci", driver_override: undefined }, host);
  rmSync(`${host.sys}/bus/pci/drivers_probe`);
  await expect(run([A], RESTORE)).rejects.toMatchObject({ kind: "not-ready" });
  expect(rememberedDevices(host)).toEqual([A]);
  expect(await run([B], RESTORE)).toMatchObject([{ changed: false }]);
});
