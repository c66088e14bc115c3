import { beforeEach, describe, expect, test } from "bun:test";
import * as F from "../../../../src/hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../../../../src/hw/virtio/negotiate.ts";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { FakeLegacyDevice } from "./fake-legacy-device.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";

const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);

let device: FakeModernDevice;

beforeEach(() => {
  device = new FakeModernDevice();
});

describe("negotiate", () => {
  test("accepts what is wanted and offered, and what a device behind an IOMMU needs", () => {
    device.offered = bits(F.VIRTIO_NET_F_MAC, F.VIRTIO_F_VERSION_1, F.VIRTIO_F_ACCESS_PLATFORM);
    device.status = 15;
    const wanted = bits(F.VIRTIO_NET_F_MAC, F.VIRTIO_NET_F_MTU);
    const accepted = negotiate(openVirtio(device), wanted);
    expect(accepted).toBe(device.offered);
    expect(device.driverFeatures).toBe(accepted);
    expect(device.status).toBe(1 | 2 | 8);
  });

  test("never accepts what makes the doorbell's value vary", () => {
    device.offered = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_F_NOTIFICATION_DATA, F.VIRTIO_F_NOTIF_CONFIG_DATA);
    expect(negotiate(openVirtio(device), ~0n)).toBe(bits(F.VIRTIO_F_VERSION_1));
  });

  test("names the features that the device refuses and marks it failed", () => {
    device.offered = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_NET_F_MQ);
    device.faults.refusesFeatures = true;
    expect(() => negotiate(openVirtio(device), ~0n)).toThrow("MQ, VERSION_1");
    expect(device.status & 0x80).toBe(0x80);
  });

  test("a modern device without VERSION_1 is refused", () => {
    device.offered = bits(F.VIRTIO_NET_F_MAC);
    expect(() => negotiate(openVirtio(device), ~0n)).toThrow("VERSION_1");
  });

  test("the legacy layout has 32 bits and no FEATURES_OK", () => {
    const legacy = new FakeLegacyDevice();
    expect(negotiate(openVirtio(legacy), ~0n)).toBe(0x30n);
    expect(legacy.driverFeatures).toBe(0x30);
    expect(legacy.status).toBe(3);
  });

  test("the bit by which QEMU's legacy devices find out careless drivers is not accepted", () => {
    const legacy = new FakeLegacyDevice();
    legacy.offered = bits(F.VIRTIO_NET_F_MAC, F.VIRTIO_NET_F_MRG_RXBUF, F.VIRTIO_F_UNUSED);
    expect(negotiate(openVirtio(legacy), ~0n)).toBe(bits(F.VIRTIO_NET_F_MAC, F.VIRTIO_NET_F_MRG_RXBUF));
    device.offered = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_F_UNUSED);
    expect(negotiate(openVirtio(device), ~0n)).toBe(bits(F.VIRTIO_F_VERSION_1));
  });

  test("a device that goes away on the way says so", () => {
    device.offered = bits(F.VIRTIO_F_VERSION_1);
    const transport = openVirtio(device, undefined, { limitMs: 20 });
    const setDriverFeatures = transport.setDriverFeatures.bind(transport);
    transport.setDriverFeatures = (features) => {
      setDriverFeatures(features);
      device.gone = true;
    };
    expect(() => negotiate(transport, 0n)).toThrow("no longer answers");
  });
});

describe("setDriverOk", () => {
  test("adds the bit", () => {
    const transport = openVirtio(device);
    negotiate(transport, 0n);
    setDriverOk(transport);
    expect(device.status).toBe(15);
  });

  test("a device that asks for a reset is refused with its status", () => {
    const transport = openVirtio(device);
    negotiate(transport, 0n);
    device.status |= 0x40;
    expect(() => setDriverOk(transport)).toThrow("NEEDS_RESET");
  });
});
