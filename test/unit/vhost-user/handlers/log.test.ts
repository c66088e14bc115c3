import { expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { VERSION_1 } from "../support/fake-device.ts";
import { ALL, PROTOCOL_FEATURES, Stage } from "../support/stage.ts";
import { u32s, u64s, vringAddr } from "../support/wire.ts";

const stage = new Stage();
const { SET_FEATURES, SET_LOG_BASE, SET_VRING_ADDR } = REQUEST;
const LOGGED = VERSION_1 | PROTOCOL_FEATURES | (1n << 26n);

test("the reply repeats the payload", () => {
  stage.negotiate();
  const payload = u64s(8192n, 4096n);
  expect(stage.peer.call(SET_LOG_BASE, payload, [stage.ram()])).toMatchObject({
    request: 6,
    flags: 5,
    payload,
  });
});

test("a log is replaced as a whole, also while rings run, and a bad one leaves the old one", () => {
  stage.run();
  for (const size of [4096n, 65536n, 8n]) stage.peer.call(SET_LOG_BASE, u64s(size, 0n), [stage.ram()]);
  expect(stage.session.log?.size).toBe(8);
  const old = stage.session.log;
  stage.peer.post(SET_LOG_BASE, u64s(1n << 30n, 0n), [stage.ram()]);
  expect(stage.session.log).toBe(old!);
  expect(stage.peer.disconnected).toBe(true);
});

test("a log that is smaller than the guest's memory is taken with a warning", () => {
  stage.negotiate();
  stage.setMemory();
  stage.peer.call(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  expect(stage.log.lines).toEqual([
    expect.stringContaining("ends before the guest's last page at GPA 0x1fffff"),
  ]);
});

test.each([
  ["size 0", u64s(0n, 0n), 1, "its size is 0"],
  ["beyond its file", u64s(0x10_0001n, 0n), 1, "beyond the end of its file"],
  ["overflow", u64s((1n << 64n) - 4096n, 4096n), 1, "overflow"],
  ["unaligned offset", u64s(8n, 8n), 1, "not a multiple of 4096"],
  ["no fd", u64s(8n, 0n), 0, "0 file descriptors"],
  ["two fds", u64s(8n, 0n), 2, "2 file descriptors"],
  ["a short payload", u64s(8n), 1, "payload of 8 bytes"],
])("%s ends the connection, as the reply has no form for an error", (_name, payload, fds, reason) => {
  stage.negotiate();
  stage.peer.post(
    SET_LOG_BASE,
    payload,
    Array.from({ length: fds }, () => stage.ram()),
  );
  expect(stage.peer.disconnected).toBe(true);
  expect(stage.log.lines).toEqual([expect.stringContaining(reason)]);
});

test("LOG_SHMFD must have been negotiated", () => {
  stage.negotiate({ protocol: ALL & ~2n });
  stage.peer.post(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  expect(stage.peer.disconnected).toBe(true);
  expect(stage.log.lines[0]).toContain("LOG_SHMFD was not negotiated");
});

test("SET_LOG_FD is taken and closed", () => {
  stage.negotiate();
  expect(stage.peer.ack(REQUEST.SET_LOG_FD, undefined, [stage.eventfd()])).toBe(0n);
  stage.refuses("SET_LOG_FD", "0 file descriptors: the message carries 1");
});

const address = (index: number, flags: number) =>
  vringAddr(index, { ...stage.addresses(index), flags, log: 0x5000n });

test("a migration: log, LOG_ALL and rings reach the running device, and are switched off again", () => {
  stage.run();
  stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  expect(stage.device.takeCalls()).toEqual([]);
  expect(stage.peer.ack(SET_FEATURES, u64s(LOGGED))).toBe(0n);
  expect(stage.peer.ack(SET_VRING_ADDR, address(1, 1))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["setLogging data", "setLogging data 1@5000"]);
  const old = stage.session.log;
  stage.peer.call(SET_LOG_BASE, u64s(4096n, 0n), [stage.ram()]);
  expect(stage.device.logging?.log).toBe(stage.session.log!);
  expect(stage.session.log).not.toBe(old!);
  expect(stage.peer.ack(SET_FEATURES, u64s(LOGGED & ~(1n << 26n)))).toBe(0n);
  expect(stage.peer.ack(SET_VRING_ADDR, address(1, 0))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual([
    "setLogging data 1@5000",
    "setLogging rings 1@5000",
    "setLogging off",
  ]);
});

test("LOG_ALL of a running device without a log is refused", () => {
  stage.run();
  stage.refuses("SET_FEATURES", "LOG_ALL without a log", u64s(LOGGED));
});

test("a device that can not log refuses LOG_ALL, and the features stay", () => {
  stage.run();
  stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  stage.device.failing = "setLogging";
  expect(stage.peer.ack(SET_FEATURES, u64s(LOGGED))).not.toBe(0n);
  expect(stage.session.logsAll).toBe(false);
  stage.device.failing = undefined;
});

test("a device that starts while its guest is migrated is logged from the start", () => {
  stage.negotiate({ features: LOGGED });
  stage.setMemory();
  for (const index of [0, 1]) stage.startRing(index);
  stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  stage.device.takeCalls();
  expect(stage.peer.ack(REQUEST.SET_STATUS, u64s(0xfn))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["setLogging data", "configure 0,1"]);
});

test("without STATUS the start waits for the log, which comes last", () => {
  stage.negotiate({ features: LOGGED, protocol: ALL & ~(1n << 16n) });
  stage.setMemory();
  for (const index of [0, 1]) stage.startRing(index);
  expect(stage.device.running).toBe(false);
  stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  expect(stage.device.running).toBe(true);
});

test("the stop of a ring fails when pages are missing in the log", () => {
  stage.run();
  stage.peer.call(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  stage.peer.ack(SET_FEATURES, u64s(LOGGED));
  stage.device.logging?.log.mark(0x10_0000, 1);
  stage.peer.post(REQUEST.GET_VRING_BASE, u32s(0, 0));
  expect(stage.peer.disconnected).toBe(true);
  expect(stage.log.lines.at(-1)).toContain("its dirty log is incomplete: page 0x100");
});

test("pages that a log lacked are not forgotten when it is replaced while logging, but with the migration", () => {
  stage.run();
  stage.peer.call(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  stage.peer.ack(SET_FEATURES, u64s(LOGGED));
  stage.device.logging?.log.mark(0x10_0000, 1);
  stage.peer.ack(SET_FEATURES, u64s(LOGGED & ~(1n << 26n)));
  // Another migration.
  stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  stage.peer.ack(SET_FEATURES, u64s(LOGGED));
  expect(stage.session.log?.failures).toBe(0);
  stage.peer.call(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  stage.device.logging?.log.mark(0x10_0000, 8192);
  for (let i = 0; i < 2; i++) stage.peer.call(SET_LOG_BASE, u64s(65536n, 0n), [stage.ram()]);
  stage.peer.post(REQUEST.GET_VRING_BASE, u32s(0, 0));
  expect(stage.peer.disconnected).toBe(true);
  expect(stage.log.lines.at(-1)).toMatch(/its dirty log is incomplete: page 0x100 .* \(2 marks lost\)/);
});

test("the stop fails as well when only the ring itself is logged", () => {
  stage.run();
  stage.peer.call(SET_LOG_BASE, u64s(8n, 0n), [stage.ram()]);
  stage.peer.ack(SET_VRING_ADDR, address(1, 1));
  stage.device.logging?.log.mark(0x10_0000, 1);
  stage.peer.post(REQUEST.GET_VRING_BASE, u32s(1, 0));
  expect(stage.peer.disconnected).toBe(true);
  expect(stage.log.lines.at(-1)).toContain("its dirty log is incomplete: page 0x100");
});
