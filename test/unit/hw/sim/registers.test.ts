import { expect, test } from "bun:test";
import { FAULT_NAMES, orderFaults, withdrawn } from "../../../../src/hw/sim/fault-switch.ts";
import type { SimOptions } from "../../../../src/hw/sim/sim-options.ts";
import { F } from "../../../../src/hw/sim/virtio.ts";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";

const BASE = F.VERSION_1 | F.ACCESS_PLATFORM;
const violations = (harness: SimHarness) => harness.device.counters.read().driver_faults;
const RING = { size: 8, desc: 0x1000n, driver: 0x2000n, device: 0x3000n };

test("offers what the options say", () => {
  const offered = (options: SimOptions) => new SimHarness(options).offered();
  expect(offered({}) & F.NET_MQ).toBe(F.NET_MQ);
  expect(offered({ pairs: 1 }) & F.NET_MQ).toBe(0n);
  expect(offered({}) & F.IN_ORDER).toBe(0n);
  expect(offered({ inOrder: true }) & F.IN_ORDER).toBe(F.IN_ORDER);
  expect(offered({ withhold: F.RING_RESET | F.RING_PACKED }) & (F.RING_RESET | F.RING_PACKED)).toBe(0n);
});

test("feature words beyond the second are empty", () => {
  const harness = new SimHarness();
  harness.set("device_feature_select", 2);
  expect(harness.get("device_feature")).toBe(0);
});

test("refuses features that were not offered, lack a dependency, VERSION_1 or ACCESS_PLATFORM", () => {
  const harness = new SimHarness({ withhold: F.RING_PACKED });
  expect(harness.negotiate(BASE | F.NET_CTRL_VQ | F.NET_MQ)).toBe(true);
  expect(harness.negotiate(BASE | F.RING_PACKED)).toBe(false);
  expect(harness.negotiate(BASE | F.NET_MQ)).toBe(false);
  expect(harness.negotiate(BASE | F.NET_CTRL_MAC_ADDR)).toBe(false);
  expect(harness.negotiate(F.VERSION_1)).toBe(false);
  expect(harness.negotiate(F.ACCESS_PLATFORM)).toBe(false);
  expect(new SimHarness({ faults: { refuseFeatures: true } }).negotiate(BASE)).toBe(false);
});

test("status: bits are only added, DRIVER_OK needs FEATURES_OK, 0 resets everything", () => {
  const harness = new SimHarness();
  harness.set("device_status", 5);
  expect(harness.get("device_status")).toBe(1);
  expect(harness.negotiate(BASE)).toBe(true);
  harness.set("driver_feature_select", 0);
  harness.set("driver_feature", 1);
  expect(harness.get("driver_feature")).toBe(0);
  harness.set("config_msix_vector", 0);
  expect(harness.enable(0, RING, 1)).toBe(true);
  harness.driverOk();
  expect(harness.get("device_status")).toBe(15);
  harness.set("device_status", 3);
  expect(harness.get("device_status")).toBe(15);
  harness.set("device_status", 0);
  expect(harness.get("device_status")).toBe(0);
  expect(harness.get("config_msix_vector")).toBe(0xffff);
  harness.set("queue_select", 0);
  expect(harness.get("queue_enable")).toBe(0);
  expect(harness.get("queue_size")).toBe(1024);
  expect(harness.get("queue_msix_vector")).toBe(0xffff);
  expect(harness.get("queue_desc")).toBe(0);
  expect(violations(harness)).toBe(3);
});

test("queue registers: sizes, vectors, addresses and what is refused", () => {
  const harness = new SimHarness({ pairs: 2, msixVectors: 3 });
  // Until features are accepted there is one pair and the short control queue.
  expect(harness.get("num_queues")).toBe(3);
  harness.set("queue_select", 2);
  expect(harness.get("queue_size")).toBe(64);
  harness.negotiate(BASE);
  expect(harness.get("num_queues")).toBe(2);
  harness.negotiate(BASE | F.NET_CTRL_VQ);
  expect(harness.get("num_queues")).toBe(3);
  harness.negotiate(BASE | F.NET_CTRL_VQ | F.NET_MQ);
  expect(harness.get("num_queues")).toBe(5);

  harness.set("queue_select", 4);
  expect(harness.get("queue_notify_off")).toBe(4);
  expect(harness.get("queue_size")).toBe(64);
  harness.set("queue_select", 3);
  harness.set("queue_size", 2048);
  harness.set("queue_size", 0);
  expect(harness.get("queue_size")).toBe(1024);
  expect(violations(harness)).toBe(2);
  harness.set("queue_select", 4);
  harness.set("queue_msix_vector", 2);
  expect(harness.get("queue_msix_vector")).toBe(2);
  harness.set("queue_msix_vector", 3);
  expect(harness.get("queue_msix_vector")).toBe(0xffff);
  harness.set64("queue_desc", 0x1234_5678_9000n);
  expect(harness.device.regRead(4, 32, 4)).toBe(0x5678_9000);
  expect(harness.device.regRead(4, 36, 4)).toBe(0x1234);

  harness.set("queue_select", 5);
  expect(harness.get("queue_size")).toBe(0);
  harness.set("queue_enable", 1);
  expect(harness.get("queue_enable")).toBe(0);
  expect(violations(harness)).toBe(3);
});

test("queue_enable: 0 is ignored, an enabled queue does not change, misaligned rings are refused", () => {
  const harness = new SimHarness();
  harness.negotiate(BASE);
  expect(harness.enable(0, { ...RING, desc: 0x1008n })).toBe(false);
  expect(harness.enable(0, { ...RING, driver: 0x2001n })).toBe(false);
  expect(harness.enable(0, { ...RING, device: 0x3002n })).toBe(false);
  expect(harness.enable(0, { ...RING, size: 6 })).toBe(false);
  expect(harness.enable(0, { ...RING, desc: 1n << 60n })).toBe(false);
  expect(harness.enable(0, RING)).toBe(true);
  const before = violations(harness);
  expect(before).toBe(5);
  harness.set("queue_enable", 0);
  harness.set("queue_size", 4);
  harness.set64("queue_desc", 0x9000n);
  expect(harness.get("queue_enable")).toBe(1);
  expect(harness.get("queue_size")).toBe(8);
  expect(harness.get("queue_desc")).toBe(0x1000);
  expect(violations(harness)).toBe(before + 4);
  harness.set("queue_reset", 1);
  expect(harness.get("queue_enable")).toBe(1);
});

test("a packed ring may have any size, and a queue can not be enabled before FEATURES_OK", () => {
  const harness = new SimHarness();
  expect(harness.enable(0, RING)).toBe(false);
  harness.negotiate(BASE | F.RING_PACKED);
  expect(harness.enable(0, { ...RING, size: 6 })).toBe(true);
});

test("accesses of another width than the register's are ignored and counted", () => {
  const harness = new SimHarness();
  expect(harness.device.regRead(4, 16, 4)).toBe(0);
  expect(harness.device.regRead(4, 0, 2)).toBe(0);
  harness.device.regWrite(4, 20, 4, 1);
  expect(harness.get("device_status")).toBe(0);
  harness.device.regWrite(4, 18, 2, 9);
  expect(violations(harness)).toBe(4);
  for (let i = 0; i < 1000; i++) harness.device.regRead(4, 0, 1);
  expect(violations(harness)).toBe(1004);
  expect(harness.log.lines.length).toBeLessThan(20);
});

test("doorbells must carry the queue's own index", () => {
  const harness = new SimHarness({ notifyMultiplier: 4096 });
  harness.negotiate(BASE | F.NET_CTRL_VQ);
  harness.kick(2);
  expect(harness.device.counters.read().kicks).toBe(1);
  harness.device.regWrite(4, 0x3000 + 4096, 2, 0);
  harness.device.regWrite(4, 0x3000 + 2, 2, 0);
  harness.device.regWrite(4, 0x3000, 4, 0);
  harness.kick(3);
  expect(harness.device.counters.read().kicks).toBe(1);
  expect(violations(harness)).toBe(4);
});

test("all queues of a device with one size register change together", () => {
  const harness = new SimHarness({ sharedQueueSize: true });
  harness.negotiate(BASE | F.NET_CTRL_VQ | F.NET_MQ);
  harness.set("queue_select", 0);
  harness.set("queue_size", 64);
  harness.set("queue_select", 3);
  expect(harness.get("queue_size")).toBe(64);
});

test("ordered faults: stuck reset, pulled device, unsettled generation, missing queue", () => {
  const harness = new SimHarness();
  harness.negotiate(BASE);
  harness.device.inject({ resetNeverCompletes: true });
  harness.set("device_status", 0);
  expect(harness.get("device_status")).toBe(11);
  harness.device.inject({ resetNeverCompletes: false });
  harness.set("device_status", 0);
  expect(harness.get("device_status")).toBe(0);

  expect(harness.get("config_generation")).toBe(harness.get("config_generation"));
  harness.device.inject({ generationNeverSettles: true });
  expect(harness.get("config_generation")).not.toBe(harness.get("config_generation"));

  harness.device.inject({ missingQueue: 1 });
  harness.set("queue_select", 1);
  expect(harness.get("queue_size")).toBe(0);

  harness.device.inject({ gone: true });
  expect(harness.get("device_status")).toBe(0xff);
  expect(harness.get("device_feature")).toBe(0xffff_ffff);
  expect(harness.device.regRead(7, 0, 4)).toBe(0xffff_ffff);
});

test("ordered faults: a queue whose reset never ends, a device that stops by itself, capabilities in a circle", () => {
  const harness = new SimHarness({ faults: { queueResetNeverCompletes: true } });
  harness.memory(0x1000n, 0x3000);
  harness.negotiate(BASE | F.RING_RESET);
  expect(harness.enable(0, RING)).toBe(true);
  harness.set("queue_reset", 1);
  expect([harness.get("queue_reset"), harness.get("queue_enable")]).toEqual([1, 1]);
  harness.device.inject({ queueResetNeverCompletes: false });
  harness.set("queue_reset", 1);
  expect([harness.get("queue_reset"), harness.get("queue_enable")]).toEqual([0, 0]);

  harness.driverOk();
  harness.device.inject({ needsReset: true });
  harness.settle();
  expect(harness.get("device_status")).toBe(15 | 64);
  expect(harness.log.lines).toEqual([expect.stringContaining("needs a reset: as ordered")]);
  harness.close();

  const next = (options: SimOptions) => new SimHarness(options).device.regRead(7, 0x99, 1);
  expect(next({})).toBe(0);
  expect(next({ faults: { capabilityLoop: true } })).toBe(0x50);
});

test("every name of a fault orders something, and taking it back leaves nothing", () => {
  for (const name of FAULT_NAMES) {
    const { shape, faults } = orderFaults([name]);
    expect(Object.keys(shape).length + Object.keys(faults).length).toBe(1);
    const harness = new SimHarness(shape);
    harness.device.inject(faults);
    harness.device.inject(withdrawn(faults));
    expect(harness.negotiate(BASE)).toBe(true);
  }
});

test("options that no device could have are refused", () => {
  for (const options of [{ pairs: 0 }, { pairs: 9 }, { queueSize: 100 }, { inOrder: true, shuffleSeed: 1 }]) {
    expect(() => new SimHarness(options)).toThrow(RangeError);
  }
});
