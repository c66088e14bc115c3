import { afterEach, beforeEach, expect, test } from "bun:test";
import { renderSteps, stepsOf } from "../../../../src/commands/bind/render.ts";
import { type BindFlags, requestOf } from "../../../../src/commands/bind/request.ts";
import { planBinding } from "../../../../src/hw/pci/bind-plan.ts";
import { rememberDriver } from "../../../../src/hw/pci/original-driver.ts";
import { FakeHost } from "../../hw/pci/fake-host.ts";

const BDF = "0000:00:04.0";
let host: FakeHost;
const request = (flags: Partial<BindFlags>) =>
  requestOf(
    {
      pci: [BDF],
      driver: undefined,
      unbind: false,
      restore: false,
      owner: undefined,
      force: false,
      ...flags,
    },
    host,
  );

beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("what the flags ask for", () => {
  expect(request({}).action).toEqual({ kind: "bind", driver: "vfio-pci" });
  expect(request({ driver: "virtio-pci" }).action).toEqual({ kind: "bind", driver: "virtio-pci" });
  expect(request({ unbind: true }).action).toEqual({ kind: "unbind" });
  expect(request({ restore: true }).action).toEqual({ kind: "restore" });
});

test("restoring without a device means all that are remembered", () => {
  expect(request({ pci: [], restore: true }).bdfs).toEqual([]);
  rememberDriver(BDF, { driver: "virtio-pci", driver_override: undefined }, host);
  expect(request({ pci: [], restore: true }).bdfs).toEqual([BDF]);
});

test.each([
  { unbind: true, restore: true },
  { driver: "x", restore: true },
  { owner: { uid: 1, gid: 1 }, unbind: true },
  { driver: "../x" },
  { pci: [] },
])("%p is a usage error", (flags) => {
  expect(() => request(flags)).toThrow(expect.objectContaining({ kind: "usage" }));
});

test("a dry run shows every step as a shell command", () => {
  host.device(BDF, { driver: "virtio-pci", group: 7 });
  const plan = planBinding(request({ driver: "uio_vfio_x", owner: { uid: 5, gid: 6 } }), host);
  const device = `${host.sys}/bus/pci/devices/${BDF}`;
  expect(renderSteps(stepsOf(plan, host)).split("\n")).toEqual([
    "modprobe uio_vfio_x",
    `echo uio_vfio_x > ${device}/driver_override`,
    `echo ${BDF} > ${device}/driver/unbind`,
    `echo ${BDF} > ${host.sys}/bus/pci/drivers_probe`,
    `chown 5:6 ${host.dev}/vfio/7`,
    "",
  ]);
});
