import { describe, expect, test } from "bun:test";
import { closeFd, readFd } from "../../../../src/hw/ffi/fd.ts";
import { sendWithFds } from "../../../../src/hw/ffi/fd-passing.ts";
import { unixSocketPair } from "../../../../src/hw/ffi/unix-socket.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { Stage } from "../support/stage.ts";
import { join, u32s, u64s } from "../support/wire.ts";

const stage = new Stage();
const { SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE } = REQUEST;
const SAVE = u32s(0, 0);
const LOAD = u32s(1, 0);
const NO_FD_BACK = 0x100n;
const ERROR = 0x101n;

function save(): Uint8Array {
  const [ours, theirs] = unixSocketPair();
  expect(stage.peer.get(SET_DEVICE_STATE_FD, SAVE, [theirs])).toBe(NO_FD_BACK);
  closeFd(theirs);
  const state = new Uint8Array(new ArrayBuffer(4096));
  const length = readFd(ours, state)!;
  expect(readFd(ours, state.subarray(length))).toBe(0);
  closeFd(ours);
  expect(stage.peer.get(CHECK_DEVICE_STATE)).toBe(0n);
  return state.slice(0, length);
}

function load(parts: readonly Uint8Array[], { end = true } = {}): bigint {
  const [ours, theirs] = unixSocketPair();
  expect(stage.peer.get(SET_DEVICE_STATE_FD, LOAD, [theirs])).toBe(NO_FD_BACK);
  closeFd(theirs);
  for (const part of parts) {
    for (let sent = 0; sent < part.length; ) {
      try {
        sent += sendWithFds(ours, part.subarray(sent)) ?? 0;
      } catch {
        break;
      }
      stage.peer.pump();
    }
  }
  if (end) closeFd(ours);
  const result = stage.peer.get(CHECK_DEVICE_STATE);
  if (!end) closeFd(ours);
  return result;
}

test("what one back-end saves another one takes", () => {
  stage.negotiate();
  stage.peer.post(REQUEST.NET_SET_MTU, u64s(1500n));
  stage.peer.post(REQUEST.SET_VRING_NUM, u32s(0, 256));
  const state = save();
  expect(Buffer.from(state).toString("latin1", 0, 8)).toBe("VDPACTL1");
  stage.peer.close();
  stage.connect();
  stage.negotiate();
  expect(load([state.subarray(0, 3), state.subarray(3)])).toBe(0n);
});

describe("a state is refused that", () => {
  const cases: [string, (state: Uint8Array) => Uint8Array, string][] = [
    ["is empty", () => new Uint8Array(0), "it has 0 bytes"],
    ["is not ours", (state) => state.fill(1, 0, 8), "it was not written by vdpactl"],
    ["is of another version", (state) => state.fill(9, 8, 9), "it has version 9; this vdpactl knows 1"],
    ["is of another device type", (state) => state.fill(2, 12, 13), "virtio device type 2"],
    [
      "uses features that are not offered",
      (state) => state.fill(255, 16, 24),
      "which this device does not offer",
    ],
    ["has a larger MTU", (state) => state.fill(255, 24, 26), "its MTU 65535 is above 9000"],
    ["counts more rings than it has", (state) => state.fill(200, 28, 29), "do not fit its 200 rings"],
    ["is cut off", (state) => state.subarray(0, -1), "do not fit its 8 rings"],
    [
      "has larger rings",
      (state) => state.fill(255, 32, 34),
      "its ring 0 has 65535 entries, here at most 1024",
    ],
    ["is endless", (state) => join(...Array.from({ length: 1000 }, () => state)), "more than 65536 bytes"],
  ];
  test.each(cases)("%s", (_name, spoil, reason) => {
    stage.negotiate();
    expect(load([spoil(save())])).toBe(1n);
    expect(stage.log.lines).toEqual([
      expect.stringContaining(`CHECK_DEVICE_STATE refused: device state from the front-end: `),
    ]);
    expect(stage.log.lines[0]).toContain(reason);
  });

  test("has no end", () => {
    stage.negotiate();
    expect(load([save()], { end: false })).toBe(1n);
    expect(stage.log.lines[0]).toContain("has not closed its end");
  });
});

test.each([
  ["an unknown direction", u32s(2, 0), "direction 2"],
  ["an unknown phase", u32s(0, 1), "phase 1 is unknown"],
])("%s is an error", (_name, payload, reason) => {
  stage.negotiate();
  const fd = stage.ram();
  expect(stage.peer.get(SET_DEVICE_STATE_FD, payload, [fd])).toBe(ERROR);
  expect(stage.log.lines[0]).toContain(reason);
});

test("a running device can not be saved", () => {
  stage.run();
  expect(stage.peer.get(SET_DEVICE_STATE_FD, SAVE, [stage.ram()])).toBe(ERROR);
  expect(stage.log.lines[0]).toContain("the device must be suspended");
});

test("a channel that nobody reads is an error, not an end", () => {
  stage.negotiate();
  const [ours, theirs] = unixSocketPair();
  closeFd(ours);
  expect(stage.peer.get(SET_DEVICE_STATE_FD, SAVE, [stage.keep(theirs)])).toBe(ERROR);
  expect(stage.peer.get(SET_DEVICE_STATE_FD, SAVE, [stage.eventfd()])).toBe(ERROR);
  expect(stage.log.lines.at(-1)).toContain("the fd can not be one: anon_inode:[eventfd]");
});

test("a transfer that is never checked is closed with the connection", () => {
  stage.negotiate();
  const [ours, theirs] = unixSocketPair().map((fd) => stage.keep(fd));
  stage.peer.get(SET_DEVICE_STATE_FD, LOAD, [theirs!]);
  stage.peer.get(SET_DEVICE_STATE_FD, LOAD, [ours!]);
});
