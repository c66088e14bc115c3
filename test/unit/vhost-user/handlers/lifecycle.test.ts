import { expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { ALL, Stage } from "../support/stage.ts";
import { u32s, u64s } from "../support/wire.ts";

const stage = new Stage();

test("RESET_OWNER stops the device and disables the rings, and keeps what was negotiated", () => {
  stage.run();
  expect(stage.peer.ack(REQUEST.RESET_OWNER)).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["stopVring 0", "stopVring 1", "stop"]);
  expect(stage.session.rings.some((ring) => ring.enabled || ring.started)).toBe(false);
  expect(stage.session).toMatchObject({ protocolFeatures: ALL });
  expect(stage.device.memory.count).toBe(1);
});

test("RESET_OWNER keeps the rings' positions", () => {
  stage.run();
  stage.device.positions.set(0, 20).set(1, 7);
  expect(stage.peer.ack(REQUEST.RESET_OWNER)).toBe(0n);
  expect(stage.session.rings.slice(0, 2).map((ring) => ring.base)).toEqual([20, 7]);
});

test("RESET_OWNER disables all rings, also where one can not be stopped in order", () => {
  stage.run();
  stage.device.failing = "stopVring";
  expect(stage.peer.ack(REQUEST.RESET_OWNER)).toBe(1n);
  stage.device.failing = undefined;
  expect(stage.device.takeCalls()).toContain("stop");
  expect(stage.session.rings.some((ring) => ring.enabled || ring.started)).toBe(false);
});

test("RESET_DEVICE brings rings and features to their beginning and keeps memory and owner", () => {
  stage.run();
  expect(stage.peer.ack(REQUEST.RESET_DEVICE)).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["stop"]);
  expect(stage.session).toMatchObject({ features: undefined, status: 0, owned: true });
  expect(stage.session.ring(0)).toMatchObject({
    num: 0,
    addresses: undefined,
    base: undefined,
    enabled: false,
  });
  expect(stage.device.memory.count).toBe(1);
  stage.run();
});

test("RESET_DEVICE must have been negotiated", () => {
  stage.negotiate({ protocol: 1n << 3n });
  stage.refuses("RESET_DEVICE", "protocol feature RESET_DEVICE was not negotiated");
});

test("a lost connection resets the device and gives everything back; the next front-end starts anew", () => {
  stage.run();
  stage.peer.close();
  expect(stage.gone).toBe(1);
  expect(stage.device.takeCalls()).toEqual(["stop"]);
  expect(stage.device.memory.count).toBe(0);
  stage.connect();
  stage.run();
});

test("a device that can not even be stopped does not keep anything", () => {
  stage.run();
  stage.device.failing = "stop";
  stage.peer.close();
  expect(stage.log.lines.join()).toContain("stop failed on purpose");
  stage.device.failing = undefined;
  stage.device.stop();
});

test("a device that stopped by itself is not started again behind the front-end's back", () => {
  stage.run();
  stage.device.stop();
  stage.device.takeCalls();
  expect(stage.peer.ack(REQUEST.SET_VRING_ENABLE, u32s(0, 0))).toBe(0n);
  expect(stage.peer.ack(REQUEST.SET_VRING_ENABLE, u32s(0, 1))).toBe(0n);
  expect(stage.device.takeCalls()).toEqual([]);
  // NEEDS_RESET, and no DRIVER_OK.
  expect(stage.peer.get(REQUEST.GET_STATUS)).toBe(0x4bn);
});

test("a device that is lost in a move to another one is as one that stopped by itself", () => {
  stage.run();
  const lose = () => {
    stage.device.stop();
    throw new Error("lost");
  };
  expect(() => stage.session.moveBy(lose)).toThrow("lost");
  expect(stage.peer.get(REQUEST.GET_STATUS)).toBe(0x4bn);
  expect(stage.session.rings.some((ring) => ring.running)).toBe(false);
  stage.peer.ack(REQUEST.SET_STATUS, u64s(0n));
  stage.run();
});
