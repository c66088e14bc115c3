import { afterEach, beforeEach, expect, test } from "bun:test";
import { findPciDevice, isBridge, listPciDevices, parseFeatures } from "../../../../src/hw/pci/device.ts";
import { readResources } from "../../../../src/hw/pci/resources.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("a device with the kernel's driver", () => {
  const features = `${"1".padStart(34, "0")}${"0".repeat(30)}`;
  host.device("0000:00:04.0", {
    driver: "virtio-pci",
    group: 7,
    virtio: { name: "virtio2", driver: "virtio_net", features },
  });
  expect(findPciDevice("0000:00:04.0", host)).toMatchObject({
    vendor: 0x1af4,
    device: 0x1041,
    driver: "virtio-pci",
    driver_override: undefined,
    iommu_group: 7,
    numa_node: undefined,
    virtioType: 1,
    virtio: { name: "virtio2", driver: "virtio_net", status: 15, features: 1n << 33n },
    resources: [
      { bar: 0, start: 0x4000100000n, size: 0x80000, kind: "memory", is64bit: true, prefetchable: false },
    ],
  });
});

test("a device without driver and group", () => {
  host.device("0000:00:04.0", { driver_override: "vfio-pci" });
  expect(findPciDevice("0000:00:04.0", host)).toMatchObject({
    driver: undefined,
    driver_override: "vfio-pci",
    iommu_group: undefined,
    virtio: undefined,
  });
});

test("devices are listed in the order of their addresses", () => {
  host.device("0000:01:00.0").device("0000:00:04.0");
  expect(listPciDevices(host).map(({ bdf }) => bdf)).toEqual(["0000:00:04.0", "0000:01:00.0"]);
});

test("a device that is not there", () => {
  expect(() => findPciDevice("0000:00:09.0", host)).toThrow(expect.objectContaining({ kind: "not-ready" }));
});

test("a machine without PCI has no devices", () => {
  host.remove();
  expect(listPciDevices(host)).toEqual([]);
});

test.each([
  [0x1041, 0, 1],
  [0x1042, 0, 2],
  [0x1000, 1, 1],
  [0x1001, 2, 2],
  [0x1009, 9, 9],
  [0x103f, 26, 26],
  [0x1110, 0, undefined],
])("device id %p with subsystem id %p is virtio type %p", (device, subsystem_device, type) => {
  host.device("0000:00:04.0", { device, subsystem_device });
  expect(findPciDevice("0000:00:04.0", host).virtioType).toBe(type);
});

test("another vendor's device is no virtio device", () => {
  host.device("0000:00:04.0", { vendor: 0x8086 });
  expect(findPciDevice("0000:00:04.0", host).virtioType).toBeUndefined();
});

test("sysfs features begin with bit 0, and what lies above bit 63 is dropped", () => {
  expect(parseFeatures("1001")).toBe(0b1001n);
  expect(parseFeatures("0".repeat(63) + "11")).toBe(1n << 63n);
  expect(parseFeatures("")).toBe(0n);
});

test("resources: ports, memory and empty lines", () => {
  const text = [
    "0x000000000000c000 0x000000000000c01f 0x0000000000040101",
    "0x0000000000000000 0x0000000000000000 0x0000000000000000",
    "0x00000000fe000000 0x00000000fe003fff 0x000000000014220c",
  ].join("\n");
  expect(readResources(text)).toEqual([
    { bar: 0, start: 0xc000n, size: 32, kind: "io", is64bit: false, prefetchable: false },
    { bar: 2, start: 0xfe000000n, size: 0x4000, kind: "memory", is64bit: true, prefetchable: true },
  ]);
});

test("a bridge is told by its class", () => {
  host.device("0000:00:01.0", { class: 0x060400 }).device("0000:00:02.0");
  expect(listPciDevices(host).map(isBridge)).toEqual([true, false]);
});
