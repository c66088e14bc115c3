import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../../../src/hw/log.ts";
import { executePlan } from "../../../../src/hw/pci/bind.ts";
import { type BindRequest, planBinding } from "../../../../src/hw/pci/bind-plan.ts";
import { ruledDevices } from "../../../../src/hw/pci/boot-rule.ts";
import { findPciDevice } from "../../../../src/hw/pci/device.ts";
import { FakeHost } from "./fake-host.ts";
import { FakeKernel } from "./fake-kernel.ts";

const A = "0000:00:04.0";
const B = "0000:00:05.0";
const log: Log = { debug() {}, info() {}, warn() {}, error() {} } as unknown as Log;

let host: FakeHost;
let kernel: FakeKernel;
const fileOf = (bdf: string) => `etc/udev/rules.d/60-vdpactl-${bdf}.rules`;
const ruleOf = (bdf: string) => host.read(fileOf(bdf));
const run = (bdfs: string[], more: Partial<BindRequest> = {}) => {
  const request = { bdfs, action: { kind: "bind" as const, driver: "vfio-pci" }, force: false, ...more };
  return executePlan(planBinding(request, host), log, { host, system: kernel });
};
const persist = (bdfs: string[], more: Partial<BindRequest> = {}) => run(bdfs, { persist: true, ...more });
const restore = (bdfs: string[]) => run(bdfs, { action: { kind: "restore" } });
const driverOf = (bdf: string) => findPciDevice(bdf, host).driver;

beforeEach(() => {
  host = new FakeHost();
  kernel = new FakeKernel(host);
  host.device(A, { driver: "virtio-pci", group: 1 }).device(B, { driver: "virtio-pci", group: 2 });
  host.file("run/udev/control", "");
});
afterEach(() => host.remove());

test("binding writes no rule unless asked to, and then one that everybody may read", async () => {
  expect(await run([A])).toMatchObject([{ persistent: false }]);
  expect(ruledDevices(host)).toEqual([]);
  expect(await persist([A])).toMatchObject([{ changed: false, persistent: true }]);
  expect(ruledDevices(host)).toEqual([A]);
  expect(statSync(join(host.root, fileOf(A))).mode & 0o777).toBe(0o644);
});

test("the rule names the device, its driver and no other", async () => {
  await persist([A, B], { action: { kind: "bind", driver: "other_vfio" } });
  const rules = ruleOf(A)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  expect(rules.length).toBe(3);
  for (const rule of rules) {
    expect(rule).toStartWith(`SUBSYSTEM=="pci", KERNEL=="${A}", ACTION==`);
    expect(rule).toContain(`"other_vfio"`);
  }
  expect(ruleOf(B)).not.toContain(A);
});

test("the owner of the nodes is the same at boot", async () => {
  host.file(`dev/vfio/1`, "");
  await persist([A], { owner: { uid: 1000, gid: undefined } });
  expect(ruleOf(A)).toContain(
    `SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/${A}", OWNER="1000"\n`,
  );
  expect(ruleOf(A)).toContain(`SUBSYSTEM=="vfio-dev", KERNELS=="${A}", OWNER="1000"\n`);
  await persist([A]);
  expect(ruleOf(A)).not.toContain("OWNER");
});

test("restoring removes the rule, also where the next boot has forgotten the first driver", async () => {
  await persist([A, B]);
  rmSync(join(host.run, "vdpactl"), { recursive: true });
  expect(await restore([A])).toMatchObject([{ driver_after: "virtio-pci", persistent: false }]);
  expect(ruledDevices(host)).toEqual([B]);
});

test("the rule of a device that was taken out of the machine can be removed", async () => {
  host.file(fileOf("0000:09:00.0"), "");
  expect(await restore(["0000:09:00.0", A])).toMatchObject([{ bdf: A }]);
  expect(ruledDevices(host)).toEqual([]);
  expect(() => restore(["0000:09:00.0"])).toThrow("there is no PCI device 0000:09:00.0");
});

test("a device that can not be bound gets no rule", async () => {
  kernel.refuses.add(`${B} vfio-pci`);
  await expect(persist([A, B])).rejects.toThrow("was not taken by vfio-pci");
  expect(ruledDevices(host)).toEqual([]);
});

test("when the rules can not be written, the devices go back", async () => {
  host.file("etc/udev/rules.d", "not a directory");
  await expect(persist([A])).rejects.toMatchObject({ what: `cannot write the udev rule of ${A}` });
  expect(driverOf(A)).toBe("virtio-pci");
});

test("when the second rule can not be written, the first is as it was", async () => {
  await persist([A], { action: { kind: "bind", driver: "old" } });
  const before = ruleOf(A);
  host.directory(`${fileOf(B)}/in-the-way`);
  await expect(persist([A, B])).rejects.toThrow();
  expect(ruleOf(A)).toBe(before);
  expect([driverOf(A), driverOf(B)]).toEqual(["old", "virtio-pci"]);
});

test("a rule that is there already is not written again", async () => {
  await persist([A]);
  chmodSync(join(host.root, fileOf(A)), 0o600);
  await persist([A]);
  expect(statSync(join(host.root, fileOf(A))).mode & 0o777).toBe(0o600);
});

test("without udev nothing would read the rule", () => {
  rmSync(join(host.run, "udev"), { recursive: true });
  expect(() => persist([A])).toThrow(expect.objectContaining({ kind: "not-ready" }));
  expect(driverOf(A)).toBe("virtio-pci");
  expect(existsSync(join(host.root, fileOf(A)))).toBe(false);
});
