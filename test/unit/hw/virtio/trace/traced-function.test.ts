import { afterEach, describe, expect, test } from "bun:test";
import { DmaBuffer } from "../../../../../src/hw/dma-buffer.ts";
import type { LogEvent } from "../../../../../src/hw/log.ts";
import type { PciFunction } from "../../../../../src/hw/pci-function.ts";
import { ControlQueue } from "../../../../../src/hw/virtio/control-queue.ts";
import * as F from "../../../../../src/hw/virtio/features.ts";
import { negotiate } from "../../../../../src/hw/virtio/negotiate.ts";
import { openVirtio } from "../../../../../src/hw/virtio/open.ts";
import { splitRingLayout } from "../../../../../src/hw/virtio/ring-layout.ts";
import { traceFunction } from "../../../../../src/hw/virtio/trace/trace-function.ts";
import { NO_VECTOR } from "../../../../../src/hw/virtio/transport.ts";
import { FakeFunction } from "../fake-function.ts";
import { FakeLegacyDevice } from "../fake-legacy-device.ts";
import { FakeModernDevice } from "../fake-modern-device.ts";

function traced(fn: PciFunction) {
  const lines: string[] = [];
  const events: LogEvent[] = [];
  const told = traceFunction(fn, (text, event) => {
    lines.push(text);
    events.push(event);
  });
  /** What was told meanwhile. */
  const during = (body: () => void): string[] => {
    lines.length = 0;
    body();
    return [...lines];
  };
  return { fn: told, events, during };
}

const afterwards: (() => void)[] = [];
afterEach(() => {
  for (const step of afterwards.splice(0)) step();
});

const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);
const RING = { size: 64, desc: 0x1_0000_1000n, driver: 0x2000n, device: 0x3000n };

describe("modern registers", () => {
  test("writes under the registers' names, with the queue they are about", () => {
    const { fn, during } = traced(new FakeModernDevice());
    const transport = openVirtio(fn, undefined, { limitMs: 20 });
    transport.maxQueueSize(1);
    expect(during(() => transport.setStatus(3))).toEqual([
      "register device_status = 0x3 [ACKNOWLEDGE DRIVER]",
    ]);
    expect(during(() => transport.setupQueue(1, { ...RING, vector: 2 }))).toEqual([
      "register queue_select = 1",
      "register queue_size = 64 (queue 1)",
      "register queue_desc_lo = 0x1000 (queue 1)",
      "register queue_desc_hi = 0x1 (queue 1)",
      "register queue_avail_lo = 0x2000 (queue 1)",
      "register queue_avail_hi = 0x0 (queue 1)",
      "register queue_used_lo = 0x3000 (queue 1)",
      "register queue_used_hi = 0x0 (queue 1)",
      "register queue_msix_vector = 2 (queue 1)",
    ]);
    expect(during(() => transport.setConfigVector(NO_VECTOR))).toEqual(["register msix_config = none"]);
  });

  test("features by name, each half its own", () => {
    const { fn, during } = traced(new FakeModernDevice());
    const features = bits(F.VIRTIO_NET_F_MRG_RXBUF, F.VIRTIO_F_VERSION_1, F.VIRTIO_F_RING_PACKED);
    const told = during(() => openVirtio(fn).setDriverFeatures(features));
    expect(told.filter((line) => line.includes("guest_feature "))).toEqual([
      "register guest_feature = 0x8000 [MRG_RXBUF]",
      "register guest_feature = 0x5 [VERSION_1 RING_PACKED]",
    ]);
  });

  test("doorbells, by us and by the kernel", () => {
    const { fn, during, events } = traced(new FakeModernDevice());
    const transport = openVirtio(fn);
    const doorbell = transport.doorbell(1);
    const { region, offset, width, value } = doorbell;
    expect(during(() => fn.write(region, offset, width, value))).toEqual(["register queue_notify = 1"]);
    expect(during(() => fn.bindDoorbell(doorbell, 17))).toEqual([
      "function doorbell of queue 1 connected to eventfd 17",
    ]);
    expect(events.at(-1)).toEqual({ event: "function_call", call: "bind_doorbell", eventfd: 17, queue: 1 });
    expect(during(() => fn.unbindDoorbell(doorbell))).toEqual(["function doorbell of queue 1 not connected"]);
  });

  test("control commands with what became of them", () => {
    const device = new FakeModernDevice();
    device.offered = bits(F.VIRTIO_NET_F_CTRL_VQ, F.VIRTIO_NET_F_MQ, F.VIRTIO_F_VERSION_1);
    const { fn, during, events } = traced(device);
    const transport = openVirtio(fn, undefined, { limitMs: 20 });
    const features = negotiate(transport, bits(F.VIRTIO_NET_F_CTRL_VQ, F.VIRTIO_NET_F_MQ));
    const size = ControlQueue.memorySize(transport, 2, features);
    const memory = DmaBuffer.create(fn.dma, 0x7f_0000_0000n, size, "control");
    afterwards.push(() => memory.close());
    const queue = ControlQueue.create(transport, { index: 2, features, memory, limitMs: 20 });
    const told = during(() => expect(() => queue.setQueuePairs(1)).toThrow());
    expect(told).toEqual([
      "register queue_notify = 2",
      expect.stringMatching(/^control command VQ_PAIRS_SET 1: .*did not complete within/),
    ]);
    expect(events.at(-1)).toMatchObject({ event: "control_command", queue: 2, command: "VQ_PAIRS_SET 1" });
  });
});

test("legacy registers under the kernel's names", () => {
  const device = new FakeLegacyDevice();
  const { fn, during } = traced(device);
  const transport = openVirtio(fn, undefined, { limitMs: 20 });
  const layout = splitRingLayout(256, 4096);
  const desc = 0x10_0000n;
  const ring = {
    size: 256,
    desc,
    driver: desc + BigInt(layout.driver),
    device: desc + BigInt(layout.device),
    vector: 1,
  };
  device.msixEnabled = true;
  const told = during(() => {
    transport.setStatus(1);
    transport.setDriverFeatures(0x20n);
    transport.setConfigVector(0);
    transport.setupQueue(1, ring);
    transport.enableQueue(1);
    const { region, offset, width, value } = transport.doorbell(1);
    fn.write(region, offset, width, value);
  });
  expect(told.filter((line) => !line.includes("QUEUE_SEL"))).toEqual([
    "register STATUS = 0x1 [ACKNOWLEDGE]",
    "register GUEST_FEATURES = 0x20 [MAC]",
    "register MSI_CONFIG_VECTOR = 0",
    "register MSI_QUEUE_VECTOR = 1 (queue 1)",
    "register QUEUE_PFN = 0x100 (queue 1)",
    "register QUEUE_NOTIFY = 1",
  ]);
  expect(told).toContain("register QUEUE_SEL = 1");
});

test("a function that is no virtio device is told of by places", () => {
  const { fn, during } = traced(new FakeFunction());
  expect(during(() => fn.write(7, 4, 2, 6))).toEqual(["register config space +0x4 = 0x6"]);
});

test("everything else reaches the function as it is", () => {
  const device = new FakeModernDevice();
  const { fn, during } = traced(device);
  expect(fn.name).toBe(device.name);
  expect(fn.dma).toBe(device.dma);
  expect([fn.msixVectors, fn.vfioFds]).toEqual([device.msixVectors, device.vfioFds]);
  expect([fn.regionSize(7), fn.isIoPort(0)]).toEqual([256, false]);
  expect(fn.read(7, 0, 2)).toBe(0x1af4);
  expect(during(() => fn.enableMsix(3))).toEqual(["function 3 MSI-X vectors"]);
  expect(during(() => fn.setVector(1, -1))).toEqual(["function vector 1 not connected"]);
  expect(during(() => fn.disableMsix())).toEqual(["function no MSI-X vectors"]);
});
