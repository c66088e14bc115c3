import { expect, test } from "bun:test";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";

function capabilities(harness: SimHarness): { id: number; at: number }[] {
  const found: { id: number; at: number }[] = [];
  for (let at = harness.device.regRead(7, 0x34, 1); at; at = harness.device.regRead(7, at + 1, 1)) {
    found.push({ id: harness.device.regRead(7, at, 1), at });
    expect(found.length).toBeLessThan(20);
  }
  return found;
}

test("the header is that of a modern virtio network device", () => {
  const { device } = new SimHarness();
  expect(device.regRead(7, 0, 4)).toBe(0x1041_1af4);
  expect(device.regRead(7, 8, 4)).toBe(0x0200_0001);
  expect(device.regRead(7, 6, 2) & 0x10).toBe(0x10);
});

test("BARs answer a sizing write with their size", () => {
  const { device } = new SimHarness({ notifyMultiplier: 4096 });
  for (const bar of [0, 1, 2, 3, 4, 5]) device.regWrite(7, 0x10 + 4 * bar, 4, 0xffff_ffff);
  expect([0, 1, 2, 3, 4, 5].map((bar) => device.regRead(7, 0x10 + 4 * bar, 4))).toEqual([
    0, 0xffff_f000, 0, 0, 0xfffe_000c, 0xffff_ffff,
  ]);
});

test("the virtio structures lie inside BAR 4, the notification one has the multiplier", () => {
  const harness = new SimHarness({ pairs: 8, notifyMultiplier: 4096 });
  const { device } = harness;
  const virtio = capabilities(harness).filter(({ id }) => id === 9);
  expect(virtio.map(({ at }) => device.regRead(7, at + 3, 1))).toEqual([1, 3, 4, 2, 5]);
  for (const { at } of virtio.slice(0, 4)) {
    expect(device.regRead(7, at + 4, 1)).toBe(4);
    expect(device.regRead(7, at + 8, 4) + device.regRead(7, at + 12, 4)).toBeLessThanOrEqual(0x20000);
  }
  expect(device.regRead(7, virtio[3]!.at + 16, 4)).toBe(4096);
  expect(device.regRead(7, virtio[3]!.at + 12, 4)).toBe(17 * 4096);
});

test("MSI-X says how many vectors there are, and is missing where there are none", () => {
  const harness = new SimHarness({ pairs: 2 });
  const msix = capabilities(harness).find(({ id }) => id === 0x11)!;
  expect(harness.device.regRead(7, msix.at + 2, 2)).toBe(5);
  expect(capabilities(new SimHarness({ msixVectors: 0 })).some(({ id }) => id === 0x11)).toBe(false);
});

test("registers reach the device through the window capability too", () => {
  const harness = new SimHarness();
  const { device } = harness;
  const window = capabilities(harness).at(-1)!.at;
  device.regWrite(7, window + 4, 1, 4);
  device.regWrite(7, window + 8, 4, 20);
  device.regWrite(7, window + 12, 4, 1);
  device.regWrite(7, window + 16, 1, 1);
  expect(harness.get("device_status")).toBe(1);
  expect(device.regRead(7, window + 16, 1)).toBe(1);
});

test("without memory decoding BARs read all ones and writes are lost", () => {
  const harness = new SimHarness();
  harness.device.regWrite(7, 4, 2, 0);
  harness.set("device_status", 1);
  expect(harness.get("device_status")).toBe(0xff);
  harness.device.regWrite(7, 4, 2, 6);
  expect(harness.get("device_status")).toBe(0);
});

test("the device configuration has MAC, link, pairs and MTU", () => {
  const { device } = new SimHarness({ mac: "02:00:00:00:00:2a", pairs: 3, mtu: 9000 });
  const bytes = Array.from({ length: 12 }, (_, i) => device.regRead(4, 0x2000 + i, 1));
  expect(bytes).toEqual([2, 0, 0, 0, 0, 0x2a, 1, 0, 3, 0, 0x28, 0x23]);
  expect(device.regRead(4, 0x200a, 2)).toBe(9000);
});
