import { describe, expect, test } from "bun:test";
import { readBlkConfig } from "../../../../src/hw/virtio/blk-config.ts";
import * as F from "../../../../src/hw/virtio/features.ts";
import { readNetConfig } from "../../../../src/hw/virtio/net-config.ts";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";
import { QEMU_CAPS, writePciConfig } from "./pci-config.ts";

const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);
const ALL_NET = bits(
  F.VIRTIO_NET_F_MAC,
  F.VIRTIO_NET_F_STATUS,
  F.VIRTIO_NET_F_MQ,
  F.VIRTIO_NET_F_MTU,
  F.VIRTIO_NET_F_SPEED_DUPLEX,
);

function netDevice(configSize = 0x1000): FakeModernDevice {
  const device = new FakeModernDevice();
  const caps = QEMU_CAPS.map((cap) => (cap.type === 4 ? { ...cap, length: configSize } : cap));
  writePciConfig(device, 0x1041, caps);
  device.deviceConfig.set([0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 4, 0, 0xdc, 5, 0x10, 0x27, 0, 0, 1]);
  return device;
}

describe("readNetConfig", () => {
  test("decodes every field", () => {
    expect(readNetConfig(openVirtio(netDevice()), ALL_NET)).toEqual({
      mac: Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56),
      status: 1,
      max_virtqueue_pairs: 4,
      mtu: 1500,
      speed: 10000,
      duplex: "full",
    });
  });

  test("a field exists only with its feature", () => {
    expect(readNetConfig(openVirtio(netDevice()), bits(F.VIRTIO_NET_F_MTU))).toEqual({
      mac: undefined,
      status: undefined,
      max_virtqueue_pairs: 1,
      mtu: 1500,
      speed: undefined,
      duplex: undefined,
    });
  });

  test("a field exists only within the configuration", () => {
    const config = readNetConfig(openVirtio(netDevice(10)), ALL_NET);
    expect(config).toMatchObject({ max_virtqueue_pairs: 4, mtu: undefined, speed: undefined });
  });

  test("unknown speed and duplex", () => {
    const device = netDevice();
    device.deviceConfig.set([0xff, 0xff, 0xff, 0xff, 0xff], 12);
    expect(readNetConfig(openVirtio(device), ALL_NET)).toMatchObject({ speed: undefined, duplex: undefined });
  });

  test.each([0, 0x8001])("%p pairs are nonsense", (pairs) => {
    const device = netDevice();
    device.deviceConfig.set([pairs & 0xff, pairs >> 8], 8);
    expect(() => readNetConfig(openVirtio(device), ALL_NET)).toThrow(`${pairs} queue pairs`);
  });
});

describe("readBlkConfig", () => {
  test("decodes capacity and queues", () => {
    const device = new FakeModernDevice(4, 0x1042);
    const view = new DataView(device.deviceConfig.buffer);
    view.setBigUint64(0, 0x1_0000_0800n, true);
    view.setUint32(20, 4096, true);
    view.setUint16(34, 8, true);
    const transport = openVirtio(device);
    expect(readBlkConfig(transport, bits(F.VIRTIO_BLK_F_MQ, F.VIRTIO_BLK_F_BLK_SIZE))).toEqual({
      capacity: 0x1_0000_0800n,
      blk_size: 4096,
      num_queues: 8,
    });
    expect(readBlkConfig(transport, 0n)).toMatchObject({ blk_size: undefined, num_queues: 1 });
  });

  test("0 queues are nonsense", () => {
    const transport = openVirtio(new FakeModernDevice(4, 0x1042));
    expect(() => readBlkConfig(transport, bits(F.VIRTIO_BLK_F_MQ))).toThrow("num_queues is 0");
  });
});
