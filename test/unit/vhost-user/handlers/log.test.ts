import { expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { ALL, Stage } from "../support/stage.ts";
import { u64s } from "../support/wire.ts";

const stage = new Stage();
const { SET_LOG_BASE } = REQUEST;

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
