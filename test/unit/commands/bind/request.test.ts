import { afterEach, beforeEach, expect, test } from "bun:test";
import { renderSteps, type Step, stepsOf } from "../../../../src/commands/bind/render.ts";
import { type BindFlags, requestOf } from "../../../../src/commands/bind/request.ts";
import { planBinding } from "../../../../src/hw/pci/bind-plan.ts";
import { rememberDriver } from "../../../../src/hw/pci/original-driver.ts";
import { type FakeDevice, FakeHost } from "../../hw/pci/fake-host.ts";

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
      persist: false,
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

test("restoring without a device means those with a rule for the next boot too, each once", () => {
  const ruled = "0000:05:00.1";
  host.file(`etc/udev/rules.d/60-vdpactl-${ruled}.rules`, "").file("etc/udev/rules.d/70-other.rules", "");
  rememberDriver(BDF, { driver: "virtio-pci", driver_override: undefined }, host);
  rememberDriver(ruled, { driver: "virtio-pci", driver_override: undefined }, host);
  expect(request({ pci: [], restore: true }).bdfs).toEqual([BDF, ruled]);
});

test.each([
  { unbind: true, restore: true },
  { driver: "x", restore: true },
  { owner: { uid: 1, gid: 1 }, unbind: true },
  { driver: "../x" },
  { pci: [] },
  { persist: true, unbind: true },
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
    `# chown 5:6 /dev/vfio/devices/NAME: the kernel gives ${BDF} a node of its own when it is bound, where it has such nodes`,
    "",
  ]);
});

const ownerOf = (device: FakeDevice, flags: Partial<BindFlags> = {}) => {
  host.device(BDF, { driver: "vfio-pci", driver_override: "vfio-pci", group: 7, ...device });
  const plan = planBinding(request({ owner: { uid: 5, gid: 6 }, ...flags }), host);
  return stepsOf(plan, host).filter(({ kind }) => kind === "chown");
};
const BOUND: FakeDevice = { files: { "vfio-dev/vfio0/dev": "511:0\n" } };
const chown = (bdf: string | null, path: string | null): Step => ({ kind: "chown", bdf, path, owner: "5:6" });
const groupNode = () => chown(null, `${host.dev}/vfio/7`);

test("a dry run gives away the nodes that a bound device has", () => {
  const own = chown(BDF, `${host.dev}/vfio/devices/vfio0`);
  expect(ownerOf(BOUND)).toEqual([groupNode(), own]);
  // The override alone does not bind it anew.
  expect(ownerOf({ ...BOUND, driver_override: "(null)" })).toEqual([groupNode(), own]);
});

test.each([
  [{ uid: 5, gid: 6 }, "5:6"],
  [{ uid: 5, gid: undefined }, "5"],
  [{ uid: undefined, gid: 6 }, ":6"],
])("to chown(1), %p is %s", (owner, text) => {
  expect(ownerOf({}, { owner })).toMatchObject([{ kind: "chown", owner: text }]);
});

test("a dry run gives away no node that this kernel does not have", () => {
  expect(ownerOf({ files: { "vfio-dev/vfio0/power/control": "" } })).toEqual([groupNode()]);
});

test.each<[string, FakeDevice, Partial<BindFlags>]>([
  ["that is yet to be bound", { driver: "virtio-pci" }, {}],
  ["that changes from one VFIO driver to another", BOUND, { driver: "virtio_vfio_pci" }],
])("a dry run does not know the own node of a device %s", (_, device, flags) => {
  expect(ownerOf(device, flags)).toEqual([groupNode(), chown(BDF, null)]);
});

test("a dry run gives a group's node away once", () => {
  host.device("0000:00:05.0", { driver: "vfio-pci", driver_override: "vfio-pci", group: 7 });
  expect(ownerOf({}, { pci: [BDF, "0000:00:05.0"] })).toEqual([groupNode()]);
});

test("a dry run shows the rule for the next boot, and its removal", () => {
  host.device(BDF, { driver: "virtio-pci", group: 7 }).file("run/udev/control", "");
  const steps = (flags: Partial<BindFlags>) => stepsOf(planBinding(request(flags), host), host);
  const rule = steps({ persist: true }).at(-1);
  const path = `${host.etc}/udev/rules.d/60-vdpactl-${BDF}.rules`;
  expect(rule).toMatchObject({ kind: "rule", bdf: BDF, path });
  expect(renderSteps([rule!])).toMatch(
    /^cat > .*\.rules << 'END'\n# 0000:00:04.0 goes to vfio-pci .*\nEND\n$/s,
  );
  host.file(`etc/udev/rules.d/60-vdpactl-${BDF}.rules`, "");
  expect(steps({ restore: true })).toEqual([{ kind: "rule", bdf: BDF, path, text: null }]);
  expect(renderSteps(steps({ restore: true }))).toBe(`rm ${path}\n`);
});
