import { expect, test } from "bun:test";
import { planDriver, showWrite } from "../../../../src/hw/pci/driver-plan.ts";

const BDF = "0000:00:04.0";
const host = { sys: "/sys" };
const DEVICE = `/sys/bus/pci/devices/${BDF}`;
const at = (driver: string | undefined, driver_override?: string) => ({ bdf: BDF, driver, driver_override });

test("from a kernel driver to vfio-pci", () => {
  expect(planDriver(at("virtio-pci"), { kind: "driver", driver: "vfio-pci" }, host)).toEqual([
    { path: `${DEVICE}/driver_override`, value: "vfio-pci" },
    { path: `${DEVICE}/driver/unbind`, value: BDF },
    { path: "/sys/bus/pci/drivers_probe", value: BDF },
  ]);
});

test("a device without a driver needs no unbinding", () => {
  expect(
    planDriver(at(undefined), { kind: "driver", driver: "vfio-pci" }, host).map(({ path }) => path),
  ).toEqual([`${DEVICE}/driver_override`, "/sys/bus/pci/drivers_probe"]);
});

test("nothing is written for a device that is there already", () => {
  expect(planDriver(at("vfio-pci", "vfio-pci"), { kind: "driver", driver: "vfio-pci" }, host)).toEqual([]);
  expect(planDriver(at(undefined), { kind: "none" }, host)).toEqual([]);
  const state = { kind: "state", driver: "virtio-pci", driver_override: undefined } as const;
  expect(planDriver(at("virtio-pci"), state, host)).toEqual([]);
});

test("a device that vfio-pci has by other means gets the override only", () => {
  expect(planDriver(at("vfio-pci"), { kind: "driver", driver: "vfio-pci" }, host)).toEqual([
    { path: `${DEVICE}/driver_override`, value: "vfio-pci" },
  ]);
});

test("back to a driver without an override asks that driver", () => {
  const state = { kind: "state", driver: "virtio-pci", driver_override: undefined } as const;
  expect(planDriver(at("vfio-pci", "vfio-pci"), state, host)).toEqual([
    { path: `${DEVICE}/driver_override`, value: "" },
    { path: `${DEVICE}/driver/unbind`, value: BDF },
    { path: "/sys/bus/pci/drivers/virtio-pci/bind", value: BDF },
  ]);
});

test("back to no driver", () => {
  const state = { kind: "state", driver: undefined, driver_override: undefined } as const;
  expect(planDriver(at("vfio-pci", "vfio-pci"), state, host).map(({ path }) => path)).toEqual([
    `${DEVICE}/driver_override`,
    `${DEVICE}/driver/unbind`,
  ]);
});

test("to the driver that the kernel chooses", () => {
  expect(planDriver(at("vfio-pci", "vfio-pci"), { kind: "standard" }, host)).toEqual([
    { path: `${DEVICE}/driver_override`, value: "" },
    { path: `${DEVICE}/driver/unbind`, value: BDF },
    { path: "/sys/bus/pci/drivers_probe", value: BDF },
  ]);
});

test("new_id is never used", () => {
  const goals = [{ kind: "driver", driver: "uio" }, { kind: "standard" }, { kind: "none" }] as const;
  const paths = goals.flatMap((goal) => planDriver(at("virtio-pci"), goal, host)).map(({ path }) => path);
  expect(paths.filter((path) => path.endsWith("new_id"))).toEqual([]);
});

test("writes are shown as a shell would do them", () => {
  expect(showWrite({ path: "/sys/x", value: "vfio-pci" })).toBe("echo vfio-pci > /sys/x");
  expect(showWrite({ path: "/sys/x", value: "" })).toBe("echo '' > /sys/x");
});
