import { expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { VERSION_1 } from "../support/fake-device.ts";
import { ALL, PROTOCOL_FEATURES, Stage } from "../support/stage.ts";
import { u64s } from "../support/wire.ts";

const stage = new Stage();
const { SET_STATUS, GET_STATUS, SET_FEATURES } = REQUEST;

test("DRIVER_OK starts the device, not the rings before it", () => {
  stage.negotiate();
  stage.setMemory();
  for (const index of [0, 1]) stage.startRing(index);
  for (const status of [1n, 3n, 0xbn]) expect(stage.peer.ack(SET_STATUS, u64s(status))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual([]);
  expect(stage.peer.ack(SET_STATUS, u64s(0xfn))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["configure 0,1"]);
  expect(stage.peer.get(GET_STATUS)).toBe(0xfn);
});

test("DRIVER_OK before the rings waits for them", () => {
  stage.negotiate();
  expect(stage.peer.ack(SET_STATUS, u64s(0xfn))).toBe(0n);
  stage.setMemory();
  for (const index of [0, 1]) stage.startRing(index);
  expect(stage.device.takeCalls()[0]).toBe("configure 0,1");
});

test("a device that does not start leaves no DRIVER_OK but NEEDS_RESET, and starts when it can", () => {
  stage.negotiate();
  stage.setMemory();
  for (const index of [0, 1]) stage.startRing(index);
  stage.device.failing = "configure";
  expect(stage.peer.ack(SET_STATUS, u64s(0xfn))).toBe(1n);
  expect(stage.log.lines).toEqual(
    ["warn SET_STATUS refused: configure failed on purpose", expect.stringMatching(/^debug/)].reverse(),
  );
  expect(stage.peer.get(GET_STATUS)).toBe(0x4bn);
  stage.device.failing = undefined;
  stage.peer.post(SET_STATUS, u64s(0n));
  expect(stage.peer.get(GET_STATUS)).toBe(0n);
  stage.run();
});

test("0 resets the device and keeps the memory", () => {
  stage.run();
  expect(stage.peer.ack(SET_STATUS, u64s(0n))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["stop"]);
  expect(stage.device.memory.count).toBe(1);
  expect(stage.session.rings.some((ring) => ring.started)).toBe(false);
  stage.run();
});

test("more than 8 bits are refused", () => {
  stage.negotiate();
  stage.refuses("SET_STATUS", "status 0x100: a device status has 8 bits", u64s(0x100n));
});

test("bits are not taken back one by one", () => {
  stage.run();
  stage.refuses("SET_STATUS", "it takes back DRIVER_OK; only a reset (0) may", u64s(0xbn));
});

test("FEATURES_OK does not stay after refused features", () => {
  stage.negotiate();
  expect(stage.peer.ack(SET_FEATURES, u64s(1n << 63n))).toBe(1n);
  expect(stage.peer.ack(SET_STATUS, u64s(0xbn))).toBe(1n);
  expect(stage.peer.get(GET_STATUS)).toBe(0n);
  expect(stage.peer.ack(SET_FEATURES, u64s(VERSION_1 | PROTOCOL_FEATURES))).toBe(0n);
  expect(stage.peer.ack(SET_STATUS, u64s(0xbn))).toBe(0n);
});

test("FEATURES_OK needs features", () => {
  stage.peer.post(REQUEST.SET_PROTOCOL_FEATURES, u64s(ALL));
  stage.refuses("SET_STATUS", "FEATURES_OK without any SET_FEATURES", u64s(0xbn));
});

test("a driver that has given the device up does not start it", () => {
  stage.negotiate();
  expect(stage.peer.ack(SET_STATUS, u64s(0x8bn))).toBe(0n);
  expect(stage.peer.ack(SET_STATUS, u64s(0x8fn))).toBe(1n);
  expect(stage.peer.get(GET_STATUS)).toBe(0x8bn);
  stage.refuses("SET_STATUS", "DRIVER_OK after FAILED; only a reset (0) ends that", u64s(0x8fn));
  expect(stage.device.running).toBe(false);
});

test("a running device that needs a reset is told of", () => {
  stage.run();
  expect(stage.peer.get(GET_STATUS)).toBe(0xfn);
  stage.device.needsReset = true;
  expect(stage.peer.get(GET_STATUS)).toBe(0x4fn);
  stage.device.needsReset = false;
});
