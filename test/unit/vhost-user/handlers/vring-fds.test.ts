import { describe, expect, test } from "bun:test";
import { openSync, readdirSync } from "node:fs";
import { unixSocketPair } from "../../../../src/hw/ffi/unix-socket.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { ALL, Stage } from "../support/stage.ts";
import { u32s, u64s, vringAddr } from "../support/wire.ts";

const stage = new Stage();
const { SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR } = REQUEST;
const NO_FD = 1n << 8n;
const KINDS = ["SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR"] as const;

describe.each(KINDS)("%s", (name) => {
  test.each([
    ["no fd and no flag", u64s(0n), 0, "0 file descriptors: the message carries 1"],
    ["the flag and an fd", u64s(NO_FD), 1, "1 file descriptors: the message carries 0"],
    ["two fds", u64s(0n), 2, "2 file descriptors: the message carries 1"],
    ["eight fds", u64s(0n), 8, "8 file descriptors: the message carries 1"],
    ["a ring that does not exist", u64s(8n), 1, "ring 8: the device has 8"],
    ["high bits", u64s(0x200n), 1, "payload 0x200: only the ring index (bits 0–7)"],
    ["half a payload", u32s(0), 1, "payload of 4 bytes: it has at least 8"],
  ])("refuses %s", (_name, payload, fds, reason) => {
    stage.negotiate();
    stage.refuses(name, reason, payload, () => Array.from({ length: fds }, stage.eventfd));
  });

  test("refuses what is no eventfd", () => {
    stage.negotiate();
    const [a, b] = unixSocketPair().map((fd) => stage.keep(fd));
    stage.refuses(name, "is no eventfd but socket:[", u64s(0n), () => [a ?? b!]);
  });

  test("a thousand times keeps one fd", () => {
    stage.run();
    const fd = stage.eventfd();
    stage.peer.post(REQUEST[name], u64s(0n), [fd]);
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 1000; i++) stage.peer.post(REQUEST[name], u64s(0n), [fd]);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});

test("other kinds of files are named", () => {
  stage.negotiate();
  const directory = stage.keep(openSync("/", "r"));
  stage.refuses("SET_VRING_KICK", "ring 0: kick fd: it is no eventfd but /", u64s(0n), () => [directory]);
});

test("a kick starts the ring and does not enable it; a start again needs a kick again", () => {
  stage.negotiate();
  expect(stage.session.ring(0)).toMatchObject({ started: false, enabled: false });
  stage.peer.post(SET_VRING_KICK, u64s(0n), [stage.eventfd()]);
  expect(stage.session.ring(0)).toMatchObject({ started: true, enabled: false });
  stage.peer.call(REQUEST.GET_VRING_BASE, u32s(0, 0));
  expect(stage.session.ring(0)).toMatchObject({ started: false, enabled: false });
});

test("fds of a running ring are replaced through the device", () => {
  stage.run();
  const shared = stage.eventfd();
  for (const index of [0n, 1n]) {
    for (const kind of [SET_VRING_KICK, SET_VRING_CALL])
      expect(stage.peer.ack(kind, u64s(index), [shared])).toBe(0n);
  }
  expect(stage.peer.ack(SET_VRING_CALL, u64s(NO_FD))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual([
    "setVringKick 0 true",
    "setVringCall 0 true",
    "setVringKick 1 true",
    "setVringCall 1 true",
    "setVringCall 0 false",
  ]);
});

test("an fd that the device refuses leaves the one before in use", () => {
  stage.run();
  const { callFd } = stage.session.ring(0);
  stage.device.failing = "setVringCall";
  expect(stage.peer.ack(SET_VRING_CALL, u64s(0n), [stage.eventfd()])).toBe(1n);
  expect(stage.session.ring(0).callFd).toBe(callFd);
  expect(readdirSync("/proc/self/fd")).toContain(String(callFd));
});

test("a ring without kick fd runs, and the log says what that means", () => {
  stage.negotiate();
  stage.peer.post(SET_VRING_KICK, u64s(NO_FD));
  expect(stage.session.ring(0).started).toBe(true);
  expect(stage.log.lines).toEqual([expect.stringContaining("warn ring 0: the front-end gives no kick fd")]);
});

test("an err fd is kept until the end", () => {
  stage.negotiate();
  expect(stage.peer.ack(SET_VRING_ERR, u64s(2n), [stage.eventfd()])).toBe(0n);
  expect(stage.session.ring(2).errFd).toBeGreaterThan(0);
});

describe("readiness without STATUS", () => {
  const protocol = ALL & ~(1n << 16n);
  test("waits for every ring that was announced, however late it is completed", () => {
    stage.negotiate({ protocol, features: (1n << 32n) | (1n << 30n) | (1n << 22n) });
    for (let index = 0n; index < 4n; index++) stage.peer.post(SET_VRING_CALL, u64s(index), [stage.eventfd()]);
    stage.setMemory();
    for (const index of [0, 1, 2]) stage.startRing(index);
    expect(stage.device.running).toBe(false);
    stage.startRing(3);
    expect(stage.device.takeCalls()[0]).toBe("configure 0,1,2,3");
  });

  test("without MQ only the first pair counts, whatever else was announced", () => {
    stage.negotiate({ protocol });
    for (let index = 0n; index < 4n; index++) stage.peer.post(SET_VRING_CALL, u64s(index), [stage.eventfd()]);
    stage.setMemory();
    for (const index of [0, 1]) stage.startRing(index);
    expect(stage.device.takeCalls()[0]).toBe("configure 0,1");
    stage.startRing(2);
    expect(stage.device.takeCalls()).not.toContain("startVring 2");
  });

  test("rings that come later join the running device", () => {
    stage.negotiate({ protocol, features: (1n << 32n) | (1n << 30n) | (1n << 22n) });
    stage.setMemory();
    for (const index of [0, 1, 2, 3]) stage.startRing(index);
    expect(stage.device.takeCalls().filter((call) => /^(configure|startVring)/.test(call))).toEqual([
      "configure 0,1",
      "startVring 2",
      "startVring 3",
    ]);
  });

  test("messages of a ring may come in any order", () => {
    stage.negotiate({ protocol });
    stage.setMemory();
    stage.startRing(0);
    stage.peer.post(SET_VRING_KICK, u64s(1n), [stage.eventfd()]);
    stage.peer.post(REQUEST.SET_VRING_ADDR, vringAddr(1, stage.addresses(1)));
    expect(stage.device.running).toBe(false);
    stage.peer.post(REQUEST.SET_VRING_NUM, u32s(1, 256));
    expect(stage.device.running).toBe(true);
  });
});
