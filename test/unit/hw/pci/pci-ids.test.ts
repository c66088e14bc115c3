import { afterEach, beforeEach, expect, test } from "bun:test";
import { pciNames } from "../../../../src/hw/pci/pci-ids.ts";
import { FakeHost } from "./fake-host.ts";

const LIST = `# comment
1af3  Earlier
\t1041  Not this one
1af4  Red Hat, Inc.
\t1000  Virtio network device
\t\t1af4 0001  A subsystem
\t1041  Virtio 1.0 network device
1af5  Later
\t1042  Not this one either
`;
const net = { vendor: 0x1af4, device: 0x1041, subsystem_device: 0 };
let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("names come from the first list that is there", () => {
  host.file("pci.ids", LIST).pciIds.push(`${host.root}/missing`, `${host.root}/pci.ids`);
  expect(pciNames(host)(net)).toEqual({ vendor: "Red Hat, Inc.", device: "Virtio 1.0 network device" });
});

test("a list that begins with the vendor", () => {
  host.file("pci.ids", "1af4  Red Hat\n\t1041  Net").pciIds.push(`${host.root}/pci.ids`);
  expect(pciNames(host)(net)).toEqual({ vendor: "Red Hat", device: "Net" });
});

test("another vendor's device of the same number is not taken", () => {
  host.file("pci.ids", LIST).pciIds.push(`${host.root}/pci.ids`);
  expect(pciNames(host)({ ...net, device: 0x1042 }).device).toBe("Virtio block device");
});

test("without a list virtio has built-in names, all else numbers", () => {
  expect(pciNames(host)(net)).toEqual({ vendor: "Red Hat, Inc.", device: "Virtio network device" });
  expect(pciNames(host)({ vendor: 0x8086, device: 0xd57, subsystem_device: 0 })).toEqual({
    vendor: "Vendor 8086",
    device: "Device 0d57",
  });
});
