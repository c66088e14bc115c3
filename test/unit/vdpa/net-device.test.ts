import { afterEach, describe, expect, test } from "bun:test";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { OperatorError } from "../../../src/hw/operator-error.ts";
import { withdrawn } from "../../../src/hw/sim/fault-switch.ts";
import type { SimFunction } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import { openVirtio } from "../../../src/hw/virtio/open.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { Counters } from "../../../src/vdpa/counters.ts";
import type { DoorbellPolicy } from "../../../src/vdpa/doorbells.ts";
import { VirtioNetDevice } from "../../../src/vdpa/net-device.ts";
import type { DatapathPolicy } from "../../../src/vdpa/ring.ts";
import type { VringConfig } from "../../../src/vdpa/vdpa-device.ts";
import { LOG_BYTES, PageLog } from "../../support/front-end/page-log.ts";
import { startSim } from "../../support/virtio-driver/start-sim.ts";
import { keptLog } from "./fake-function.ts";

const SIZE = 1 << 20;
const GPA = 0x10_0000n;
const UVA = 0x7f00_0000_0000n;
const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);
const MQ = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_NET_F_MQ);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A device on a simulated function, with a megabyte of guest memory. */
function deviceOn(
  options: SimOptions = {},
  settings: {
    queuePairs?: number;
    limitMs?: number;
    controlLimitMs?: number | undefined;
    datapath?: DatapathPolicy;
    doorbells?: DoorbellPolicy;
    layout?: "legacy";
  } = {},
) {
  const { fn, ended } = startSim(options);
  const loop = new EventLoop();
  const { log, lines } = keptLog();
  const counters = new Counters();
  const memory = new GuestMemory(fn.dma, { log });
  const fd = memfd("guest", SIZE);
  memory.replaceAll([{ description: { gpa: GPA, size: BigInt(SIZE), uva: UVA, mmapOffset: 0n }, fd }]);
  closeFd(fd);
  const transport = openVirtio(fn, log, { limitMs: settings.limitMs ?? 5000 });
  // Only what is said of the layout; its registers are not used then.
  if (settings.layout) Object.defineProperty(transport, "layout", { value: settings.layout });
  cleanup.push(
    () => loop.close(),
    () => ended,
    () => fn.close(),
    () => memory.clear(),
  );
  const device = new VirtioNetDevice(transport, {
    loop,
    log,
    counters,
    memory,
    queuePairs: settings.queuePairs,
    featuresMask: ~0n,
    doorbells: settings.doorbells ?? "auto",
    datapath: settings.datapath ?? "auto",
    controlLimitMs: settings.controlLimitMs,
  });
  cleanup.push(() => device.close());
  return { device, fn: fn as SimFunction, lines, counters, memory, loop };
}

/** Ring `index` of 16 entries, in a page of its own. */
function vring(index: number, changes: Partial<VringConfig> = {}): VringConfig {
  const page = GPA + BigInt(index) * 4096n;
  const [kickFd, callFd] = [createEventfd(), createEventfd()];
  cleanup.unshift(
    () => closeFd(kickFd),
    () => closeFd(callFd),
  );
  return {
    index,
    size: 16,
    descGpa: page,
    driverGpa: page + 1024n,
    deviceGpa: page + 2048n,
    base: 0,
    kickFd,
    callFd,
    enabled: true,
    ...changes,
  };
}

describe("starting", () => {
  test("every ring is set up, called once, and connected by ioeventfd and vector", () => {
    const { device } = deviceOn();
    const rings = [0, 1, 2, 3].map((index) => vring(index));
    device.configure(MQ, rings);
    expect(device.running).toBe(true);
    expect(device.queues().map((q) => [q.index, q.type, q.doorbell, q.vector, q.call])).toEqual([
      [0, "rx", "ioeventfd", 1, "direct"],
      [1, "tx", "ioeventfd", 2, "direct"],
      [2, "rx", "ioeventfd", 3, "direct"],
      [3, "tx", "ioeventfd", 4, "direct"],
    ]);
    for (const ring of rings) expect(drainEventfd(ring.callFd)).toBe(1n);
  });

  test("a kernel that refuses doorbells is no obstacle", () => {
    const { device, lines } = deviceOn({ faults: { refuseDoorbell: true } });
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.queues().map((q) => q.doorbell)).toEqual(["relay", "relay"]);
    expect(lines.some((line) => line.includes("kicks are relayed"))).toBe(true);
  });

  test("too few vectors are shared", () => {
    const { device } = deviceOn({ msixVectors: 3 });
    device.configure(
      MQ,
      [0, 1, 2, 3].map((index) => vring(index)),
    );
    expect(device.queues().map((q) => [q.vector, q.call])).toEqual([
      [1, "direct"],
      [2, "relay"],
      [2, "relay"],
      [2, "relay"],
    ]);
  });

  test("a driver without VERSION_1 is refused, and the device stays reset", () => {
    const { device } = deviceOn();
    expect(() => device.configure(bits(F.VIRTIO_NET_F_MQ), [vring(0), vring(1)])).toThrow(/VERSION_1/);
    expect(device.running).toBe(false);
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.running).toBe(true);
  });

  test("a device that refuses the features leaves nothing behind", () => {
    const { device, fn, memory } = deviceOn({ faults: { refuseFeatures: true } });
    expect(() => device.configure(MQ, [vring(0), vring(1)])).toThrow(/refuses the features/);
    fn.inject({ refuseFeatures: false });
    device.configure(MQ, [vring(0), vring(1)]);
    device.stop();
    memory.clear();
  });

  test("a control queue that never answers is an error, and the device is reset", () => {
    const { device, fn } = deviceOn({ faults: { controlNeverCompletes: true } }, { controlLimitMs: 2000 });
    expect(() => device.configure(MQ, [vring(0), vring(1)])).toThrow(
      /RX promisc on did not complete within 2 s/,
    );
    expect(device.running).toBe(false);
    fn.inject({ controlNeverCompletes: false });
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.running).toBe(true);
  }, 60_000);

  test("a device that does not finish its reset is reset through its function", () => {
    const { device, fn, lines, counters } = deviceOn({}, { limitMs: 50 });
    device.configure(MQ, [vring(0), vring(1)]);
    fn.inject({ resetNeverCompletes: true });
    device.stop();
    fn.inject({ resetNeverCompletes: false });
    expect(lines.some((line) => line.includes("the PCI function is reset instead"))).toBe(true);
    expect(counters.get("resets")).toBeGreaterThan(0);
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.running).toBe(true);
  });

  test("a configuration that never settles is said once and stops nothing", () => {
    const { device, fn, lines, loop } = deviceOn({}, { limitMs: 50 });
    device.configure(MQ, [vring(0), vring(1)]);
    const settles = () => lines.filter((line) => line.includes("config_generation")).length;
    for (let i = 0; i < 2; i++) {
      fn.inject({ generationNeverSettles: true });
      loop.runOnce(1000);
      expect(settles()).toBe(1);
    }
    expect(device.running).toBe(true);
    fn.inject({ generationNeverSettles: false });
    device.configure(MQ, [vring(0), vring(1)]);
    expect(settles()).toBe(1);
  });

  test("a device that does not follow its reset is waited for once, and tried again at the next start", () => {
    const { device, fn, lines, counters } = deviceOn({}, { limitMs: 50 });
    device.configure(MQ, [vring(0), vring(1)]);
    const before = counters.get("resets");
    fn.inject({ gone: true });
    for (let i = 0; i < 3; i++) device.stop();
    expect(counters.get("resets")).toBe(before + 1);
    expect(lines.filter((line) => line.includes("the PCI function is reset instead"))).toHaveLength(1);
    fn.inject({ gone: false });
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.running).toBe(true);
    device.stop();
    expect(fn.read(4, 20, 1)).toBe(0);
  });

  test("more pairs than the device has can not be offered", () => {
    expect(() => deviceOn({ pairs: 2 }, { queuePairs: 3 })).toThrow(/it offers 2/);
    expect(deviceOn({ pairs: 4 }, { queuePairs: 3 }).device.getQueueNum()).toBe(3);
  });
});

describe("stopping", () => {
  test("one ring of several stops by RING_RESET and can come back", () => {
    const { device } = deviceOn();
    device.configure(
      MQ,
      [0, 1, 2, 3].map((index) => vring(index)),
    );
    expect(device.stopVring(3)).toBe(0);
    expect(device.queues().map((q) => q.index)).toEqual([0, 1, 2]);
    device.startVring(vring(3));
    expect(device.queues().map((q) => q.doorbell)).toEqual(Array(4).fill("ioeventfd"));
  });

  test("without RING_RESET all rings stop with the first, each tells its position, and none starts alone", () => {
    const { device, memory } = deviceOn({ withhold: bits(F.VIRTIO_F_RING_RESET) });
    const rings = [vring(0), vring(1)];
    device.configure(MQ, rings);
    memory.writeU16(rings[1]!.deviceGpa + 2n, 7);
    expect(device.stopVring(0)).toBe(0);
    expect(device.running).toBe(true);
    expect(() => device.startVring(vring(0))).toThrow(/can not be started alone/);
    expect(device.stopVring(1)).toBe(7);
    expect(device.running).toBe(false);
    device.configure(MQ, [vring(0), vring(1)]);
    expect(device.running).toBe(true);
  });

  for (const [what, faults] of [
    ["asks for a reset", { needsReset: true }],
    ["does not finish the reset of a queue", { queueResetNeverCompletes: true }],
    ["does not answer control commands", { controlNeverCompletes: true }],
    ["is gone", { gone: true }],
  ] as const) {
    for (const datapath of ["direct", "relay"] as const) {
      test(`a device that ${what} is reset to stop one ring, and every ring tells its position (${datapath})`, () => {
        const { device, fn, memory, counters } = deviceOn(
          {},
          { limitMs: 50, controlLimitMs: 2000, datapath },
        );
        const rings = [0, 1, 2, 3].map((index) => vring(index));
        device.configure(MQ, rings);
        fn.inject(faults);
        const resets = counters.get("resets");
        if (datapath === "direct") memory.writeU16(rings[3]!.deviceGpa + 2n, 7);
        expect(device.stopVring(3)).toBe(datapath === "direct" ? 7 : 0);
        expect(counters.get("resets")).toBe(resets + 1);
        for (const index of [0, 1, 2]) expect(device.stopVring(index)).toBe(0);
        expect(device.running).toBe(false);
        fn.inject(withdrawn(faults));
        device.configure(MQ, [vring(0), vring(1)]);
        expect(device.running).toBe(true);
      }, 60_000);
    }
  }

  test("stopping twice, and stopping what never ran, is harmless", () => {
    const { device } = deviceOn();
    expect(device.stopVring(0)).toBe(0);
    device.stop();
    device.configure(MQ, [vring(0), vring(1)]);
    device.stop();
    device.stop();
    expect(device.running).toBe(false);
    expect(device.queues()).toEqual([]);
  });
});

describe("while it runs", () => {
  test("a ring's eventfds are replaced, and the new call eventfd is signalled once", () => {
    const { device } = deviceOn();
    device.configure(MQ, [vring(0), vring(1)]);
    const [kick, call] = [createEventfd(), createEventfd()];
    device.setVringKick(0, kick);
    device.setVringCall(0, call);
    expect(drainEventfd(call)).toBe(1n);
    device.setVringKick(0, -1);
    device.setVringCall(0, -1);
    expect(device.queues()[0]).toMatchObject({ doorbell: "none", call: "none" });
    closeFd(kick);
    closeFd(call);
  });

  test("a call eventfd that the kernel refuses is forgotten, whatever the ring is moved to later", () => {
    const { device, fn, memory } = deviceOn();
    const rings = [vring(0), vring(1)];
    device.configure(MQ, rings);
    const refused = createEventfd();
    const setVector = fn.setVector.bind(fn);
    fn.setVector = (vector, eventfd) => {
      if (eventfd === refused) throw new OperatorError("refused on purpose");
      setVector(vector, eventfd);
    };
    for (const { callFd } of rings) drainEventfd(callFd);
    expect(() => device.setVringCall(0, refused)).toThrow("refused on purpose");
    expect(drainEventfd(rings[0]!.callFd)).toBe(1n);
    const pages = new PageLog();
    const log = DirtyLog.map(pages.fd, BigInt(LOG_BYTES), 0n);
    device.setLogging({ log, data: true, usedRings: new Map() });
    expect(device.queues().map((q) => q.mode)).toEqual(["relay", "relay"]);
    expect([rings[0]!.callFd, refused].map(drainEventfd)).toEqual([1n, 0n]);
    device.stop();
    device.setLogging(undefined);
    log.close();
    pages.close();
    closeFd(refused);
    memory.clear();
  });

  test("a call eventfd that is refused when a ring starts leaves the ring stopped", () => {
    const { device, fn } = deviceOn();
    const rings = [0, 1, 2, 3].map((index) => vring(index));
    device.configure(MQ, rings);
    device.stopVring(3);
    const setVector = fn.setVector.bind(fn);
    fn.setVector = (vector, eventfd) => {
      if (eventfd === rings[3]!.callFd) throw new OperatorError("refused on purpose");
      setVector(vector, eventfd);
    };
    expect(() => device.startVring(rings[3]!)).toThrow("refused on purpose");
    expect(device.queues().map((q) => q.index)).toEqual([0, 1, 2]);
    fn.setVector = setVector;
    device.startVring(rings[3]!);
    expect(device.queues().map((q) => q.doorbell)).toEqual(Array(4).fill("ioeventfd"));
  });

  test("a doorbell page is given away only where the kernel may ring too", () => {
    for (const [doorbells, given] of [
      ["auto", true],
      ["relay", false],
    ] as const) {
      const { device } = deviceOn({}, { doorbells });
      device.transport.doorbellPage = () => ({ fd: 0, offset: 0n, size: 4096 });
      device.configure(MQ, [vring(0), vring(1)]);
      expect(device.getNotifyArea(0) !== undefined).toBe(given);
    }
  });

  test("a disabled ring has no doorbell", () => {
    const { device, lines } = deviceOn();
    device.configure(MQ, [vring(0), vring(1), vring(2, { enabled: false }), vring(3, { enabled: false })]);
    expect(device.queues().map((q) => q.doorbell)).toEqual(["ioeventfd", "ioeventfd", "none", "none"]);
    device.setVringState(2, true);
    expect(lines).not.toContain("2 queue pairs active");
    device.setVringState(3, true);
    expect(lines).toContain("2 queue pairs active");
    expect(device.queues().map((q) => q.doorbell)).toEqual(Array(4).fill("ioeventfd"));
    device.setVringState(3, false);
    expect(lines.at(-2)).toBe("1 queue pair active");
    expect(device.queues()[3]!.doorbell).toBe("none");
  });

  test("without relaying, a ring base that a reset queue does not have is a problem, in words", () => {
    const { device } = deviceOn({}, { datapath: "direct" });
    expect(device.baseProblem(MQ, 0)).toBeUndefined();
    expect(device.baseProblem(MQ, 5)).toContain("available index 5");
    const packed = MQ | bits(F.VIRTIO_F_RING_PACKED);
    expect(device.baseProblem(packed, 0x8000)).toBeUndefined();
    expect(device.baseProblem(packed, 0)).toContain("wrap counter 0");
  });
});

test("rings of the legacy layout are not relayed, nor is that silently ignored", () => {
  expect(() => deviceOn({}, { datapath: "relay", layout: "legacy" })).toThrow(
    "the rings of sim can not be relayed: it has the legacy register layout",
  );
  const { device } = deviceOn({}, { layout: "legacy" });
  expect(device.canLog).toBe(false);
  expect(device.baseProblem(0n, 5)).toContain("rings of the legacy register layout can not be relayed");
});

test("all pairs take the first pair's sizes, whatever the queues look like before features are accepted", () => {
  // Until MQ is accepted the device has one pair, and its third queue is the short control queue.
  const { device } = deviceOn({ pairs: 2 });
  expect([0, 1, 2, 3].map((index) => device.maxQueueSize(index))).toEqual([1024, 1024, 1024, 1024]);
  device.configure(
    MQ,
    [0, 1, 2, 3].map((index) =>
      vring(index, {
        size: 128,
        descGpa: GPA + BigInt(index) * 65536n,
        driverGpa: GPA + BigInt(index) * 65536n + 8192n,
        deviceGpa: GPA + BigInt(index) * 65536n + 16384n,
      }),
    ),
  );
  expect(device.queues().map((q) => q.size)).toEqual([128, 128, 128, 128]);
});
