import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { addressOf, ServiceManager } from "../../../../src/daemon/systemd/service-manager.ts";
import { type ReportedDevice, ServiceState } from "../../../../src/daemon/systemd/service-state.ts";
import { closeFd, fdKind, memfd } from "../../../../src/hw/ffi/fd.ts";
import { ReceivingManager } from "../../../support/service-manager.ts";
import { CollectedLog } from "../../../support/virtio-driver/collected-log.ts";

const cleanup: (() => void)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function receiving(abstract = false): ReceivingManager {
  const receiver = new ReceivingManager(abstract);
  cleanup.push(() => receiver.close());
  return receiver;
}

for (const abstract of [false, true]) {
  test(`a notice reaches ${abstract ? "an abstract address" : "a path"}`, () => {
    const receiver = receiving(abstract);
    const log = new CollectedLog();
    new ServiceManager(receiver.address, log).tell({ READY: 1, STATUS: "two\nlines" });
    expect(receiver.notices).toEqual([{ variables: { READY: "1", STATUS: "two lines" }, fds: [] }]);
  });
}

test("an fd is given to keep, and dropped by its name", () => {
  const receiver = receiving();
  const manager = new ServiceManager(receiver.address, new CollectedLog());
  const fd = memfd("kept", 4096);
  manager.keep(fd, "state");
  manager.drop("state");
  const [kept, dropped] = receiver.notices;
  expect(kept!.variables).toEqual({ FDSTORE: "1", FDNAME: "state" });
  expect(kept!.fds).toHaveLength(1);
  expect(fdKind(kept!.fds[0]!)).toBe(fdKind(fd));
  expect(dropped).toEqual({ variables: { FDSTOREREMOVE: "1", FDNAME: "state" }, fds: [] });
  closeFd(fd);
});

test("without a manager nothing is sent, and one that is gone is one warning", () => {
  const log = new CollectedLog();
  new ServiceManager(undefined, log).tell({ READY: 1 });
  const gone = new ServiceManager("/nowhere/notify", log);
  gone.tell({ READY: 1 });
  gone.tell({ WATCHDOG: 1 });
  expect(log.lines).toEqual([expect.stringContaining("the service manager was not told: connect")]);
});

test("where it is", () => {
  expect(addressOf({})).toBeUndefined();
  expect(addressOf({ NOTIFY_SOCKET: "" })).toBeUndefined();
  expect(addressOf({ NOTIFY_SOCKET: "/run/systemd/notify" })).toBe("/run/systemd/notify");
  expect(addressOf({ NOTIFY_SOCKET: "@abstract" })).toBe("@abstract");
  for (const odd of ["relative", "@", "/", "vsock:2:9999"]) {
    expect(() => addressOf({ NOTIFY_SOCKET: odd })).toThrow("NOTIFY_SOCKET");
  }
});

describe("what it is told", () => {
  const device = (name: string) => ({
    name,
    phase: "starting" as ReportedDevice["phase"],
    where: "",
    connected: false,
    failure: undefined as ReportedDevice["failure"],
  });
  type Device = ReturnType<typeof device>;
  const serving = (at: Device, where: string) => Object.assign(at, { phase: "serving", where });
  const told = (names: readonly string[], body: (state: ServiceState, devices: Device[]) => void) => {
    const receiver = receiving();
    const devices = names.map(device);
    body(new ServiceState(new ServiceManager(receiver.address, new CollectedLog()), devices), devices);
    return receiver.notices.map(({ variables }) => variables);
  };

  test("start, front-ends and stop", () => {
    const notices = told(["00:04.0"], (state, [only]) => {
      serving(only!, "socket=/s");
      state.ready();
      for (const connected of [true, true, false]) {
        only!.connected = connected;
        state.changed();
      }
      state.stopping();
      only!.connected = true;
      state.changed();
      state.stopping();
    });
    expect(notices).toEqual([
      { STATUS: "opening 00:04.0" },
      { READY: "1", STATUS: "waiting for a front-end at socket=/s" },
      { STATUS: "serving a front-end at socket=/s" },
      { STATUS: "waiting for a front-end at socket=/s" },
      { STOPPING: "1", STATUS: "stopping" },
    ]);
  });

  test("several devices, of which one fails and comes back", () => {
    const notices = told(["00:04.0", "00:05.0"], (state, [one, other]) => {
      serving(one!, "socket=/a");
      state.changed();
      Object.assign(other!, { phase: "failed", failure: { message: "no IOMMU" } });
      state.ready();
      one!.connected = true;
      state.changed();
      serving(other!, "socket=/b");
      state.changed();
    });
    expect(notices).toEqual([
      { STATUS: "opening 2 devices" },
      { READY: "1", STATUS: "1 of 2 devices served, 0 with a front-end; 00:05.0 failed: no IOMMU" },
      { STATUS: "1 of 2 devices served, 1 with a front-end; 00:05.0 failed: no IOMMU" },
      { STATUS: "2 of 2 devices served, 1 with a front-end" },
    ]);
  });

  test("a reload, and what has changed by its end", () => {
    const notices = told(["00:04.0"], (state, [only]) => {
      serving(only!, "socket=/s");
      state.ready();
      state.reloading();
      only!.connected = true;
      state.changed();
      state.reloaded();
      state.reloaded();
    });
    const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const { MONOTONIC_USEC: since, ...begun } = notices[2]!;
    expect(Number(since)).toBeGreaterThan(0);
    // The clock that goes on while the machine sleeps is never behind.
    expect(Number(since)).toBeLessThanOrEqual((uptime + 0.01) * 1e6);
    expect([begun, ...notices.slice(3)]).toEqual([
      { RELOADING: "1", STATUS: "reading the settings again" },
      { READY: "1", STATUS: "serving a front-end at socket=/s" },
    ]);
  });

  test("a reload before readiness is none, and one that a stop ends does not come back", () => {
    const notices = told(["00:04.0"], (state, [only]) => {
      state.reloading();
      state.reloaded();
      serving(only!, "socket=/s");
      state.ready();
      state.reloading();
      state.stopping();
      state.reloaded();
    });
    expect(notices.map((notice) => Object.keys(notice)[0])).toEqual([
      "STATUS",
      "READY",
      "RELOADING",
      "STOPPING",
    ]);
  });

  test("a front-end that is there from the start", () => {
    const notices = told(["sim"], (state, [only]) => {
      serving(only!, "fd=3").connected = true;
      state.ready();
    });
    expect(notices[1]).toEqual({ READY: "1", STATUS: "serving a front-end at fd=3" });
  });

  test("readiness after the stop was asked for is none", () => {
    const notices = told(["sim"], (state) => {
      state.stopping();
      state.ready();
    });
    expect(notices.some((variables) => "READY" in variables)).toBe(false);
  });

  test("a failure", () => {
    expect(told(["sim"], (state) => state.failed("no IOMMU")).at(-1)).toEqual({
      STOPPING: "1",
      STATUS: "no IOMMU",
    });
  });
});
