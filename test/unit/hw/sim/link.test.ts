import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { SysError } from "../../../../src/hw/ffi/errno.ts";
import { EPOLLIN, EventLoop } from "../../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../../../src/hw/ffi/fd.ts";
import { MappedMemory } from "../../../../src/hw/ffi/mmap.ts";
import { connectSim, createSimLink, type SimFunction } from "../../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../../src/hw/sim/sim-options.ts";
import { runSimWorker } from "../../../../src/hw/sim/worker.ts";
import { CollectedLog } from "../../../support/virtio-driver/collected-log.ts";
import { startSim } from "../../../support/virtio-driver/start-sim.ts";

const fds = () => readdirSync("/proc/self/fd").length;
const running: { fn: SimFunction; ended: Promise<void> }[] = [];

function start(options: SimOptions = {}): SimFunction {
  const sim = startSim(options);
  running.push(sim);
  return sim.fn;
}

afterEach(async () => {
  for (const { fn, ended } of running.splice(0)) {
    fn.close();
    await ended;
  }
});

const codeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return error instanceof SysError ? error.code : String(error);
  }
  return "no error";
};

test("describes itself as the options say", () => {
  const fn = start({
    pairs: 2,
    msixVectors: 4,
    notifyMultiplier: 4096,
    usable: [{ first: 0x1000n, last: 0xffff_ffff_ffffn }],
  });
  expect(fn.name).toBe("sim");
  expect(fn.msixVectors).toBe(4);
  expect([0, 1, 4, 5, 7].map((region) => fn.regionSize(region))).toEqual([0, 4096, 0x8000, 0, 256]);
  expect(fn.dma.usable).toEqual([{ first: 0x1000n, last: 0xffff_ffff_ffffn }]);
  expect(fn.read(7, 0, 4)).toBe(0x1041_1af4);
  expect(fn.read(7, 4, 2)).toBe(6);
  expect(fn.vfioFds).toBeUndefined();
  expect(fn.watch("error", 0)).toBe(false);
  expect(codeOf(() => fn.dma.map(0n, { hva: 0x1000, size: 4096, stable: false }))).toBe("EINVAL");
});

test("mistakes come back as the errors VFIO gives", () => {
  const fn = start({ pairs: 1 });
  const event = createEventfd();
  const file = memfd("no eventfd", 4096);
  const doorbell = { region: 4, offset: 0x3000, width: 2, value: 0 } as const;
  expect(codeOf(() => fn.read(4, 2, 4))).toBe("EINVAL");
  expect(codeOf(() => fn.read(4, 0x10_0000, 4))).toBe("EINVAL");
  expect(codeOf(() => fn.read(2, 0, 4))).toBe("EINVAL");
  expect(codeOf(() => fn.setVector(0, event))).toBe("EINVAL");
  expect(codeOf(() => fn.enableMsix(5))).toBe("EINVAL");
  fn.enableMsix(4);
  expect(codeOf(() => fn.setVector(4, event))).toBe("EINVAL");
  expect(codeOf(() => fn.setVector(0, file))).toBe("EINVAL");
  expect(codeOf(() => fn.setVector(0, 9999))).toBe("EBADF");
  expect(codeOf(() => fn.setVector(0, event))).toBe("no error");
  expect(codeOf(() => fn.bindDoorbell(doorbell, file))).toBe("EINVAL");
  expect(codeOf(() => fn.bindDoorbell(doorbell, event))).toBe("no error");
  expect(codeOf(() => fn.bindDoorbell(doorbell, event))).toBe("EEXIST");
  fn.unbindDoorbell(doorbell);
  fn.unbindDoorbell(doorbell);
  fn.inject({ refuseDoorbell: true });
  expect(codeOf(() => fn.bindDoorbell(doorbell, event))).toBe("EINVAL");
  closeFd(event);
  closeFd(file);
});

test("the kernel asks for the device back when that is ordered", () => {
  const fn = start({ pairs: 1 });
  const event = createEventfd();
  expect(codeOf(() => fn.watch("release", 9999))).toBe("EBADF");
  expect(fn.watch("release", event)).toBe(true);
  expect(drainEventfd(event)).toBe(0n);
  fn.inject({ releaseRequest: true });
  expect(drainEventfd(event)).toBe(1n);
  closeFd(event);
});

/** Waits for the device's thread to have counted something; bounded. */
async function counted(fn: SimFunction, name: "kicks" | "driver_faults", n: number): Promise<void> {
  for (let i = 0; i < 500 && fn.counters()[name] < n; i++) await Bun.sleep(10);
  expect(fn.counters()[name]).toBe(n);
}

test("doorbells arrive posted, by register write with a wrong value, and by eventfd", async () => {
  const fn = start();
  fn.write(4, 0x3000 + 4 * 2, 2, 2);
  await counted(fn, "kicks", 1);
  fn.write(4, 0x3000, 2, 9);
  await counted(fn, "driver_faults", 1);
  const event = createEventfd();
  const doorbell = { region: 4, offset: 0x3004, width: 2, value: 1 } as const;
  fn.bindDoorbell(doorbell, event);
  signalEventfd(event);
  await counted(fn, "kicks", 2);
  // Nobody reads the eventfd: every write must count all the same.
  signalEventfd(event);
  await counted(fn, "kicks", 3);
  drainEventfd(event);
  signalEventfd(event);
  await counted(fn, "kicks", 4);
  fn.unbindDoorbell(doorbell);
  signalEventfd(event);
  fn.read(4, 20, 1);
  expect(fn.counters().kicks).toBe(4);
  closeFd(event);
});

test("close gives back every fd, and a second one does nothing", async () => {
  const warm = startSim();
  warm.fn.close();
  await warm.ended;
  const before = fds();
  const { fn, ended } = startSim();
  const events = Array.from({ length: 8 }, createEventfd);
  fn.enableMsix(8);
  for (const [i, event] of events.entries()) {
    fn.setVector(i, event);
    fn.bindDoorbell({ region: 4, offset: 0x3000 + 4 * i, width: 2, value: i }, event);
  }
  for (let i = 0; i < 1000; i++) fn.setVector(0, events[i % 8]!);
  for (const event of events) closeFd(event);
  fn.close();
  fn.close();
  await ended;
  expect(fds()).toBe(before);
  expect(() => fn.read(4, 0, 4)).toThrow("closed");
});

test("a thread that died says so", () => {
  const link = createSimLink();
  const log = new CollectedLog();
  runSimWorker(link, { pairs: 99 }, log);
  expect(log.lines[0]).toContain("99 queue pairs");
  expect(() => connectSim(link)).toThrow("died");
  closeFd(link.requestFd);
});

test("memory can be mapped and unmapped again and again", () => {
  const fn = start();
  const fd = memfd("memory", 1 << 20);
  const memory = MappedMemory.map(fd, 1 << 20);
  for (let i = 0; i < 50; i++) {
    fn.dma.map(0x10_0000n, { hva: memory.hva, size: 1 << 20, stable: i % 2 === 0 });
    fn.dma.unmap(0x10_0000n, 1 << 20);
  }
  memory.unmap();
  closeFd(fd);
  expect(codeOf(() => fn.dma.unmap(0x10_0000n, 1 << 20))).toBe("ENOENT");
});

test("an interrupt crosses the threads", () => {
  const fn = start();
  const event = createEventfd();
  const loop = new EventLoop();
  loop.add(event, EPOLLIN, () => drainEventfd(event));
  fn.enableMsix(1);
  fn.setVector(0, event);
  // The configuration interrupt of a device that needs a reset: here because bus mastering is off.
  fn.write(4, 16, 2, 0);
  for (const status of [1, 3]) fn.write(4, 20, 1, status);
  fn.write(4, 8, 4, 1);
  fn.write(4, 12, 4, 3);
  fn.write(4, 20, 1, 11);
  fn.write(4, 20, 1, 15);
  expect(fn.read(4, 20, 1)).toBe(15);
  fn.write(7, 4, 2, 2);
  fn.write(4, 0x3000, 2, 0);
  expect(loop.runOnce(5000)).toBe(1);
  expect(fn.read(4, 20, 1)).toBe(79);
  loop.close();
  closeFd(event);
});
