import { afterEach, beforeEach, expect, test } from "bun:test";
import { hasIommu, isVfioDriver, readIommuGroup } from "../../../../src/hw/pci/iommu-group.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("who is in the way of a group", () => {
  host
    .device("0000:00:01.0", { group: 3, driver: "pcieport", class: 0x060400 })
    .device("0000:00:04.0", { group: 3, driver: "vfio-pci" })
    .device("0000:00:04.1", { group: 3, driver: "virtio-pci" })
    .device("0000:00:04.2", { group: 3 })
    .device("0000:00:04.3", { group: 3, driver: "pci-stub" })
    .device("0000:00:04.4", { group: 3, driver: "mlx5_vfio_pci" });
  const { members } = readIommuGroup(3, host);
  expect(members).toHaveLength(6);
  expect(members.filter(({ inTheWay }) => inTheWay)).toEqual([
    { bdf: "0000:00:04.1", driver: "virtio-pci", inTheWay: true },
  ]);
});

test("whether there is an IOMMU", () => {
  expect(hasIommu(host)).toBe(false);
  host.device("0000:00:04.0", { group: 0 });
  expect(hasIommu(host)).toBe(true);
});

test.each([
  ["vfio-pci", true],
  ["virtio_vfio_pci", true],
  ["hisi_acc_vfio_pci", true],
  ["virtio-pci", false],
  [undefined, false],
])("driver %p is of VFIO: %p", (driver, expected) => {
  expect(isVfioDriver(driver)).toBe(expected);
});
