import { describe, expect, test } from "bun:test";
import { drainEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../../src/hw/ffi/unix-socket.ts";
import { REQUEST } from "../../../src/vhost-user/protocol.ts";
import { VERSION_1 } from "./support/fake-device.ts";
import { Peer, type Reply } from "./support/peer.ts";
import { ALL, PROTOCOL_FEATURES, Stage } from "./support/stage.ts";
import { frame, u32s, u64s } from "./support/wire.ts";

const stage = new Stage();
const NOTIFIER = 3;
const LOG_ALL = 1n << 26n;

/** Gives the back channel and returns the front-end's end of it. */
function open(): Peer {
  const [ours, theirs] = unixSocketPair();
  expect(stage.peer.ack(REQUEST.SET_BACKEND_REQ_FD, undefined, [theirs])).toBe(0n);
  closeFd(theirs);
  return peerOn(ours);
}

function peerOn(fd: number): Peer {
  const peer = new Peer(stage.loop, fd);
  stage.afterwards(() => peer.close());
  return peer;
}

/** Gives the first pair a doorbell page. */
function area(): void {
  const page = { fd: stage.ram(), offset: 0x3000n, size: 4096 };
  for (const index of [0, 1]) stage.device.notifyAreas.set(index, page);
}

function answer(peer: Peer, code: bigint): void {
  peer.raw(frame(NOTIFIER, 5, u64s(code)));
  peer.pump();
}

/** The channel of a front-end that has taken both pages. */
function taken(): Peer {
  const channel = open();
  for (let i = 0; i < 2; i++) {
    closeAll(channel.receive());
    answer(channel, 0n);
  }
  return channel;
}

/** The request to unmap a ring's page. */
const removal = (index: number) => ({
  request: NOTIFIER,
  flags: 9,
  payload: u64s(BigInt(index) | 0x100n, 0n, 0n),
  fds: [],
});

const closeAll = (reply: Reply) => reply.fds.forEach((fd) => void closeFd(fd));

describe("doorbell pages", () => {
  test("are offered once the device runs, and count when the front-end takes them", () => {
    area();
    stage.negotiate();
    const channel = open();
    expect(channel.silent).toBe(true);
    stage.run();
    for (const index of [0n, 1n]) {
      const offer = channel.receive();
      expect(offer).toMatchObject({ request: NOTIFIER, flags: 9, payload: u64s(index, 4096n, 0x3000n) });
      expect(offer.fds.length).toBe(1);
      closeAll(offer);
    }
    answer(channel, 0n);
    answer(channel, 1n);
    expect(stage.device.takeCalls()).toEqual(["setHostNotifier 0 true", "setHostNotifier 1 false"]);
    expect(stage.session.pages.isActive(0)).toBe(true);
    expect(stage.session.pages.isActive(1)).toBe(false);
  });

  test("are offered too when the channel comes after the start", () => {
    area();
    stage.run();
    closeAll(open().receive());
  });

  test("are taken back before the ring stops", () => {
    area();
    stage.run();
    const channel = open();
    for (let i = 0; i < 2; i++) closeAll(channel.receive());
    answer(channel, 0n);
    stage.device.takeCalls();
    stage.peer.call(REQUEST.GET_VRING_BASE, u32s(0, 0));
    expect(channel.receive()).toMatchObject(removal(0));
    expect(stage.device.takeCalls()).toEqual(["setHostNotifier 0 false", "stopVring 0"]);
  });

  test("that leave are not offered again before they have left, nor is their answer taken for another's", () => {
    area();
    stage.run();
    const channel = taken();
    stage.peer.call(REQUEST.GET_VRING_BASE, u32s(0, 0));
    expect(channel.receive()).toMatchObject(removal(0));
    stage.startRing(0);
    expect(channel.silent).toBe(true);
    answer(channel, 0n);
    const offer = channel.receive();
    expect(offer).toMatchObject({ request: NOTIFIER, flags: 9, payload: u64s(0n, 4096n, 0x3000n) });
    closeAll(offer);
    expect(stage.session.pages.isActive(0)).toBe(false);
    answer(channel, 0n);
    expect(stage.session.pages.isActive(0)).toBe(true);
  });

  test("that were refused are offered again when the ring starts anew, and are not taken back", () => {
    area();
    stage.run();
    const channel = open();
    for (let i = 0; i < 2; i++) closeAll(channel.receive());
    answer(channel, 1n);
    answer(channel, 0n);
    stage.peer.post(REQUEST.SET_VRING_ENABLE, u32s(0, 1));
    expect(channel.silent).toBe(true);
    stage.peer.call(REQUEST.GET_VRING_BASE, u32s(0, 0));
    expect(channel.silent).toBe(true);
    stage.startRing(0);
    closeAll(channel.receive());
  });

  test("are taken back before anything is logged; a kick is made up for each that left, as it may have gone astray", () => {
    area();
    stage.run();
    const channel = taken();
    const { kickFd } = stage.session.ring(0);
    expect(drainEventfd(kickFd)).toBe(0n);
    stage.device.takeCalls();
    const log = stage.keep(memfd("log", 4096));
    stage.peer.call(REQUEST.SET_LOG_BASE, u64s(4096n, 0n), [log]);
    stage.peer.post(REQUEST.SET_FEATURES, u64s(VERSION_1 | PROTOCOL_FEATURES | LOG_ALL));
    expect(stage.device.takeCalls()).toEqual([
      "setHostNotifier 0 false",
      "setHostNotifier 1 false",
      "setLogging data",
    ]);
    for (const index of [0, 1]) expect(channel.receive()).toMatchObject(removal(index));
    expect(drainEventfd(kickFd)).toBe(0n);
    stage.device.notifyAreas.clear();
    answer(channel, 0n);
    expect(drainEventfd(kickFd)).toBe(1n);
    expect(channel.silent).toBe(true);
  });

  test("are taken back before the guest moves to another device, whose pages are offered once they have left", () => {
    area();
    stage.run();
    const channel = taken();
    stage.device.takeCalls();
    stage.session.moveBy(() => void stage.device.calls.push("moved"));
    expect(stage.device.takeCalls()).toEqual(["setHostNotifier 0 false", "setHostNotifier 1 false", "moved"]);
    for (const index of [0, 1]) expect(channel.receive()).toMatchObject(removal(index));
    expect(channel.silent).toBe(true);
    for (const index of [0n, 1n]) {
      answer(channel, 0n);
      const offer = channel.receive();
      expect(offer).toMatchObject({ flags: 9, payload: u64s(index, 4096n, 0x3000n) });
      closeAll(offer);
    }
  });

  test("are offered again by the same device when the move fails", () => {
    area();
    stage.run();
    const channel = taken();
    const fail = () => {
      throw new Error("no move");
    };
    expect(() => stage.session.moveBy(fail)).toThrow("no move");
    for (const index of [0, 1]) expect(channel.receive()).toMatchObject(removal(index));
    for (let i = 0; i < 2; i++) {
      answer(channel, 0n);
      closeAll(channel.receive());
    }
  });

  test("are offered as soon as a ring is the device's again, without a message of the front-end's", () => {
    stage.run();
    const channel = open();
    expect(channel.silent).toBe(true);
    area();
    for (const changed of stage.device.modeWatchers) changed();
    for (let i = 0; i < 2; i++) closeAll(channel.receive());
    stage.peer.close();
    expect(stage.device.modeWatchers.size).toBe(0);
  });

  test("are not offered where the protocol features do not allow it", () => {
    area();
    stage.run({ protocol: ALL & ~(1n << 11n) });
    expect(open().silent).toBe(true);
  });

  test("are not offered without REPLY_ACK, as nobody could tell when a page has left", () => {
    area();
    stage.run({ protocol: ALL & ~(1n << 3n) });
    const [ours, theirs] = unixSocketPair();
    stage.peer.post(REQUEST.SET_BACKEND_REQ_FD, undefined, [theirs]);
    closeFd(theirs);
    expect(peerOn(ours).silent).toBe(true);
  });
});

describe("a peer that", () => {
  /** The session goes on whatever the channel does. */
  const goesOn = () => expect(stage.peer.ack(REQUEST.SET_VRING_ENABLE, u32s(0, 1))).toBe(0n);

  test("never replies does no harm", () => {
    area();
    stage.run();
    const channel = open();
    goesOn();
    for (let i = 0; i < 2; i++) closeAll(channel.receive());
    stage.peer.post(REQUEST.SET_STATUS, u64s(0n));
    stage.run();
  });

  test.each([
    ["sends a request", frame(NOTIFIER, 1, u64s(0n)), "a message with flags 0x1 where only replies may come"],
    [
      "replies to something else",
      frame(9, 5, u64s(0n)),
      "a reply to back-end request 9 that nobody asked for",
    ],
    ["replies too shortly", frame(NOTIFIER, 5, u32s(0)), "a reply of 4 bytes"],
    [
      "announces too much",
      u32s(NOTIFIER, 5, 4097),
      "VRING_HOST_NOTIFIER_MSG announces a payload of 4097 bytes; 4096 are allowed",
    ],
    ["sends rubbish", new Uint8Array(64).fill(255), "announces a payload of 4294967295 bytes"],
  ])("%s loses the channel only", (_name, bytes, reason) => {
    area();
    stage.run();
    const channel = open();
    for (let i = 0; i < 2; i++) closeAll(channel.receive());
    channel.raw(bytes);
    channel.pump();
    expect(channel.disconnected).toBe(true);
    expect(stage.log.lines.filter((line) => line.startsWith("warn"))).toEqual([
      expect.stringContaining(reason),
    ]);
    goesOn();
  });

  test("replies without being asked loses the channel only", () => {
    stage.run();
    const channel = open();
    answer(channel, 0n);
    expect(channel.disconnected).toBe(true);
    expect(stage.log.lines.at(-1)).toContain("a reply to VRING_HOST_NOTIFIER_MSG that nobody asked for");
    goesOn();
  });

  test("closes does no harm, and may give another channel", () => {
    area();
    stage.run();
    open().close();
    goesOn();
    stage.device.takeCalls();
    closeAll(open().receive());
  });

  test("does not read does no harm", () => {
    area();
    stage.run();
    open();
    for (let i = 0; i < 2000; i++) {
      stage.peer.call(REQUEST.GET_VRING_BASE, u32s(0, 0));
      stage.peer.post(REQUEST.SET_VRING_KICK, u64s(0n), [stage.session.ring(1).kickFd]);
    }
    goesOn();
  });
});

test("a back channel must be a socket", () => {
  stage.negotiate();
  stage.refuses("SET_BACKEND_REQ_FD", "it is no socket but anon_inode:[eventfd]", undefined, () => [
    stage.eventfd(),
  ]);
});

test("a back channel must come with an fd", () => {
  stage.negotiate();
  stage.refuses("SET_BACKEND_REQ_FD", "0 file descriptors: the message carries 1");
});
