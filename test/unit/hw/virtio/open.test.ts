import { describe, expect, test } from "bun:test";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { FakeLegacyDevice } from "./fake-legacy-device.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";
import { LAST_CAP_OF, QEMU_CAPS, writePciConfig } from "./pci-config.ts";

describe("openVirtio", () => {
  test("finds the modern registers and the type", () => {
    const transport = openVirtio(new FakeModernDevice(5));
    expect(transport.layout).toBe("modern");
    expect(transport.deviceType).toBe(1);
    expect(transport.numQueues).toBe(5);
    expect(transport.configSize).toBe(0x1000);
  });

  test("takes the modern registers of a transitional device", () => {
    const transport = openVirtio(new FakeModernDevice(3, 0x1001));
    expect(transport.layout).toBe("modern");
    expect(transport.deviceType).toBe(2);
  });

  test("reads the type of another transitional id from the subsystem id", () => {
    const device = new FakeModernDevice(1, 0x1010);
    device.config.setUint16(0x2e, 26, true);
    expect(openVirtio(device).deviceType).toBe(26);
  });

  test("falls back to the legacy registers", () => {
    const transport = openVirtio(new FakeLegacyDevice());
    expect(transport.layout).toBe("legacy");
    expect(transport.deviceType).toBe(1);
    expect(transport.numQueues).toBe(3);
  });

  test("prefers the structure that is listed first, and passes over one outside of its BAR", () => {
    const device = new FakeModernDevice();
    const wrong = { type: 1, bar: 4, offset: 0x3fff_ff00, length: 0x1000 };
    const second = { type: 1, bar: 4, offset: 0x100, length: 0x100 };
    writePciConfig(device, 0x1041, [wrong, ...QEMU_CAPS, second]);
    expect(openVirtio(device).numQueues).toBe(4);
    expect(device.accesses.at(-1)).toBe("4:18:2");
  });

  test("survives a capability list that loops", () => {
    const device = new FakeModernDevice();
    device.config.setUint8(LAST_CAP_OF(QEMU_CAPS.length) + 1, 0x40);
    expect(openVirtio(device).layout).toBe("modern");
  });

  test.each([
    [1, "common configuration"],
    [2, "notification"],
    [3, "ISR"],
  ])("a modern device without capability %p is refused by name", (type, name) => {
    const device = new FakeModernDevice();
    writePciConfig(
      device,
      0x1041,
      QEMU_CAPS.filter((cap) => cap.type !== type),
    );
    expect(() => openVirtio(device)).toThrow(name);
  });

  test("legacy registers of another revision are not taken", () => {
    const device = new FakeLegacyDevice();
    device.config.setUint8(8, 1);
    expect(() => openVirtio(device)).toThrow("no usable virtio registers");
  });

  test("a device that is no virtio device is named with its id", () => {
    const device = new FakeModernDevice();
    device.config.setUint16(0, 0x8086, true);
    expect(() => openVirtio(device)).toThrow("8086:1041");
  });

  test("a device that is gone says so", () => {
    const device = new FakeModernDevice();
    device.gone = true;
    expect(() => openVirtio(device)).toThrow("no longer answers");
  });

  test("writes nothing", () => {
    const device = new FakeModernDevice();
    device.onWrite = () => {
      throw new Error("written");
    };
    openVirtio(device);
  });
});
