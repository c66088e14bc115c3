import { beforeEach, describe, expect, test } from "bun:test";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { splitRingLayout } from "../../../../src/hw/virtio/ring-layout.ts";
import { NO_VECTOR, type VirtioTransport } from "../../../../src/hw/virtio/transport.ts";
import { FakeLegacyDevice } from "./fake-legacy-device.ts";

const LAYOUT = splitRingLayout(256, 4096);
const BASE = 0x10_0000n;
const RING = {
  size: 256,
  desc: BASE,
  driver: BASE + BigInt(LAYOUT.driver),
  device: BASE + BigInt(LAYOUT.device),
  vector: NO_VECTOR,
};

let device: FakeLegacyDevice;
let transport: VirtioTransport;

beforeEach(() => {
  device = new FakeLegacyDevice();
  transport = openVirtio(device, undefined, { limitMs: 20 });
});

describe("legacy queues", () => {
  test("are given by page number when they are enabled", () => {
    transport.setupQueue(1, RING);
    expect(transport.queueEnabled(1)).toBe(false);
    transport.enableQueue(1);
    expect(device.pfns).toEqual([0, 0x100, 0]);
    expect(transport.queueEnabled(1)).toBe(true);
  });

  test.each([
    ["another size", { ...RING, size: 128 }, "dictates 256 entries"],
    ["an available ring elsewhere", { ...RING, driver: RING.driver + 2n }, "available ring at +4096"],
    ["a used ring elsewhere", { ...RING, device: RING.device + 4n }, "used ring at +8192"],
    [
      "a ring that is not page aligned",
      { ...RING, desc: BASE + 16n, driver: RING.driver + 16n, device: RING.device + 16n },
      "page aligned",
    ],
  ])("%s is refused", (_, setup, message) => {
    expect(() => transport.setupQueue(0, setup)).toThrow(message);
  });

  test("an address above 44 bits is refused", () => {
    const far = 1n << 44n;
    const setup = { ...RING, desc: far, driver: far + 4096n, device: far + 8192n };
    expect(() => transport.setupQueue(0, setup)).toThrow("32-bit page number");
  });

  test("are not enabled without being set up, and not reset alone", () => {
    expect(() => transport.enableQueue(0)).toThrow("not set up");
    expect(() => transport.resetQueue(0)).toThrow("no register");
  });

  test("share one doorbell", () => {
    expect(transport.doorbell(2)).toEqual({ region: 0, offset: 16, width: 2, value: 2 });
    expect(transport.doorbellPage(2)).toBeUndefined();
  });
});

describe("legacy vectors and configuration", () => {
  test("vectors need MSI-X enabled", () => {
    expect(() => transport.setConfigVector(0)).toThrow("MSI-X is not enabled");
    device.msixEnabled = true;
    transport.setConfigVector(0);
    transport.setupQueue(0, { ...RING, vector: 1 });
    expect([device.configVector, device.vectors[0]]).toEqual([0, 1]);
  });

  test("the configuration moves when MSI-X is enabled", () => {
    device.deviceConfig.set([0x52, 0x54, 0, 1, 2, 3, 1, 0]);
    for (const enabled of [false, true]) {
      device.msixEnabled = enabled;
      expect([...transport.readConfig(0, 8)]).toEqual([0x52, 0x54, 0, 1, 2, 3, 1, 0]);
      expect(transport.configSize).toBe(enabled ? 40 : 44);
    }
  });

  test("a configuration that never settles is given up", () => {
    device.configNeverSettles = true;
    expect(() => transport.readConfig(0, 6)).toThrow("did not complete");
  });

  test("features have 32 bits", () => {
    transport.setDriverFeatures(0x8000_0000n);
    expect(device.driverFeatures >>> 0).toBe(0x8000_0000);
    expect(() => transport.setDriverFeatures(1n << 32n)).toThrow("32 bits");
  });

  test("a device that is gone says so", () => {
    device.gone = true;
    expect(() => transport.reset()).toThrow("no longer answers");
    expect(() => transport.deviceFeatures()).toThrow("no longer answers");
    expect(() => transport.numQueues).toThrow("no longer answers");
  });
});
