import { beforeEach, describe, expect, test } from "bun:test";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { NO_VECTOR, type VirtioTransport } from "../../../../src/hw/virtio/transport.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";
import { QEMU_CAPS, writePciConfig } from "./pci-config.ts";

const RING_RESET = 1n << 40n;
const RING_PACKED = 1n << 34n;
const RING = { size: 128, desc: 0x1_0000_1000n, driver: 0x2_0000_2000n, device: 0x3000n, vector: 3 };
/** Short, and only ever run out in full by a device that never answers. */
const limitMs = 20;

let device: FakeModernDevice;
let transport: VirtioTransport;

beforeEach(() => {
  device = new FakeModernDevice();
  transport = openVirtio(device, undefined, { limitMs });
});

describe("reset and features", () => {
  test("reset writes 0 and waits for it", () => {
    device.status = 15;
    transport.reset();
    expect(device.status).toBe(0);
  });

  test("a reset that never ends is given up and named", () => {
    device.status = 15;
    device.faults.resetNeverEnds = true;
    expect(() => transport.reset()).toThrow("0000:00:09.0: the reset (device_status) did not complete");
  });

  test("a reset of a device that is gone says so", () => {
    device.gone = true;
    expect(() => transport.reset()).toThrow("no longer answers");
  });

  test("features are read and written in both halves", () => {
    device.offered = 0x8000_0101_8000_0021n;
    expect(transport.deviceFeatures()).toBe(0x8000_0101_8000_0021n);
    transport.setDriverFeatures(0x8000_0001_8000_0001n);
    expect(device.driverFeatures).toBe(0x8000_0001_8000_0001n);
  });

  test("features of all ones mean that the device is gone", () => {
    device.gone = true;
    expect(() => transport.deviceFeatures()).toThrow("no longer answers");
    expect(() => transport.numQueues).toThrow("no longer answers");
  });
});

describe("queues", () => {
  test("are programmed whole, and enabled by a step of its own", () => {
    transport.setupQueue(1, RING);
    const queue = device.queues[1]!;
    expect(queue).toMatchObject({ size: 128, vector: 3, enabled: 0 });
    expect(queue.addresses).toEqual([0x1000, 1, 0x2000, 2, 0x3000, 0]);
    expect(transport.queueEnabled(1)).toBe(false);
    transport.enableQueue(1);
    expect(transport.queueEnabled(1)).toBe(true);
    expect(transport.queueEnabled(0)).toBe(false);
  });

  test("the largest size is the device's, whatever was programmed", () => {
    transport.setupQueue(1, RING);
    expect(transport.maxQueueSize(1)).toBe(256);
    expect(transport.maxQueueSize(4)).toBe(0);
    expect(transport.maxQueueSize(-1)).toBe(0);
  });

  test("also where one register holds the size of all queues", () => {
    const [first, ...others] = device.queues as [(typeof device.queues)[0], ...typeof device.queues];
    for (const queue of others) {
      Object.defineProperty(queue, "size", {
        get: () => first.size,
        set: (size: number) => {
          first.size = size;
        },
      });
    }
    transport.setupQueue(1, { ...RING, size: 64 });
    expect([0, 1, 2].map((index) => transport.maxQueueSize(index))).toEqual([256, 256, 256]);
  });

  test.each([
    ["a size of 0", { ...RING, size: 0 }, "0 entries"],
    ["more than the device takes", { ...RING, size: 512 }, "takes 1 to 256"],
    ["no power of two", { ...RING, size: 100 }, "no power of two"],
    ["a misaligned table", { ...RING, desc: 0x1008n }, "misaligned"],
    ["a misaligned used ring", { ...RING, device: 0x3002n }, "misaligned"],
  ])("%s is refused", (_, setup, message) => {
    expect(() => transport.setupQueue(0, setup)).toThrow(message);
  });

  test("a packed ring may have any size", () => {
    transport.setDriverFeatures(RING_PACKED);
    transport.setupQueue(0, { ...RING, size: 100 });
    expect(device.queues[0]!.size).toBe(100);
  });

  test("a queue of size 0 does not exist", () => {
    device.queues[2]!.size = 0;
    expect(transport.maxQueueSize(2)).toBe(0);
    expect(() => transport.setupQueue(2, RING)).toThrow("no such queue");
  });

  test("an enabled queue is not programmed anew", () => {
    transport.setupQueue(0, RING);
    transport.enableQueue(0);
    expect(() => transport.setupQueue(0, RING)).toThrow("enabled already");
  });

  test("refused vectors and sizes are noticed", () => {
    device.faults.refusesVectors = true;
    expect(() => transport.setupQueue(0, RING)).toThrow("refuses the MSI-X vector of queue 0");
    expect(() => transport.setConfigVector(0)).toThrow("refuses the MSI-X vector of the configuration");
    transport.setupQueue(0, { ...RING, vector: NO_VECTOR });
    device.faults.refusesSizes = true;
    expect(() => transport.setupQueue(1, RING)).toThrow("queue_size");
  });

  test("one queue is reset alone", () => {
    transport.setDriverFeatures(RING_RESET);
    for (const index of [0, 1]) {
      transport.setupQueue(index, RING);
      transport.enableQueue(index);
    }
    transport.resetQueue(0);
    expect([transport.queueEnabled(0), transport.queueEnabled(1)]).toEqual([false, true]);
  });

  test("not without RING_RESET, and not for ever", () => {
    expect(() => transport.resetQueue(0)).toThrow("RING_RESET was not negotiated");
    transport.setDriverFeatures(RING_RESET);
    device.faults.queueResetNeverEnds = true;
    expect(() => transport.resetQueue(0)).toThrow("the reset of queue 0 (queue_reset) did not complete");
  });
});

describe("doorbells", () => {
  test("lie at queue_notify_off times the multiplier", () => {
    device.queues[2]!.notifyOff = 9;
    expect(transport.doorbell(2)).toEqual({ region: 4, offset: 0x3000 + 36, width: 2, value: 2 });
  });

  test("outside of the structure are refused", () => {
    device.queues[2]!.notifyOff = 0x400;
    expect(() => transport.doorbell(2)).toThrow("outside of the notification structure");
  });

  test("the last place of the structure is inside", () => {
    device.queues[2]!.notifyOff = 0x3ff;
    expect(transport.doorbell(2).offset).toBe(0x3ffc);
  });

  test("four bytes apart share a page that is not given away", () => {
    device.page = { fd: 3, offset: 0x3000n, size: 4096 };
    expect(transport.doorbellPage(0)).toBeUndefined();
  });

  test("a page apart are given away, where the structure covers the page", () => {
    device.regions.set(4, new Uint8Array(0x8000));
    const notify = { type: 2, bar: 4, offset: 0x4000, length: 0x3000, multiplier: 4096 };
    writePciConfig(device, 0x1041, [...QEMU_CAPS.slice(0, 3), notify]);
    const page = { fd: 3, offset: 0x5000n, size: 4096 };
    device.page = page;
    const wide = openVirtio(device);
    expect(wide.doorbell(1).offset).toBe(0x5000);
    expect(wide.doorbellPage(1)).toBe(page);
    // Two bytes of the fourth page would do for a doorbell, not for giving the page away.
    const short = { ...notify, length: 0x3002 };
    writePciConfig(device, 0x1041, [...QEMU_CAPS.slice(0, 3), short]);
    expect(openVirtio(device).doorbellPage(3)).toBeUndefined();
  });

  test("a page shared with another structure is not given away", () => {
    device.regions.set(4, new Uint8Array(0x8000));
    const notify = { type: 2, bar: 4, offset: 0x4000, length: 0x4000, multiplier: 4096 };
    const isr = { type: 3, bar: 4, offset: 0x5800, length: 1 };
    const [common, , config] = QEMU_CAPS as [(typeof QEMU_CAPS)[0], unknown, (typeof QEMU_CAPS)[0]];
    writePciConfig(device, 0x1041, [common, isr, config, notify]);
    device.page = { fd: 3, offset: 0n, size: 4096 };
    const transport = openVirtio(device);
    expect(transport.doorbellPage(1)).toBeUndefined();
    expect(transport.doorbellPage(2)).toBeDefined();
  });
});

describe("configuration", () => {
  test("is read field by field at each field's width", () => {
    device.deviceConfig.set([2, 4, 6, 8, 10, 12, 1, 0, 3, 0]);
    device.accesses.length = 0;
    expect([...transport.readConfig(0, 10)]).toEqual([2, 4, 6, 8, 10, 12, 1, 0, 3, 0]);
    const config = device.accesses.filter((access) => Number(access.split(":")[1]) >= 0x2000);
    expect(config.slice(-3)).toEqual(["4:8197:1", "4:8198:2", "4:8200:2"]);
  });

  test("a field cut in two is read by bytes", () => {
    device.accesses.length = 0;
    transport.readConfig(7, 2);
    const config = device.accesses.filter((access) => Number(access.split(":")[1]) >= 0x2000);
    expect(config).toEqual(["4:8199:1", "4:8200:1"]);
  });

  test("is read again when it changed meanwhile", () => {
    let reads = 0;
    const onRead = device.onRead.bind(device);
    device.onRead = (region, offset, width) => {
      const value = onRead(region, offset, width);
      // The status changes right after its first reading, and the generation with it.
      if (region === 4 && offset === 0x2006 && reads++ === 0) {
        device.deviceConfig[6] = 1;
        device.generation++;
      }
      return value;
    };
    expect([...transport.readConfig(6, 2)]).toEqual([1, 0]);
    expect(reads).toBe(2);
  });

  test("a generation that never settles is given up", () => {
    device.faults.generationNeverSettles = true;
    expect(() => transport.readConfig(0, 8)).toThrow("config_generation");
  });

  test("outside of the structure is refused", () => {
    expect(() => transport.readConfig(0x1000, 1)).toThrow(RangeError);
    expect(() => transport.readConfig(-1, 1)).toThrow(RangeError);
  });
});
