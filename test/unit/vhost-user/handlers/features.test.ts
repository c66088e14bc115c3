import { describe, expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { EVENT_IDX, VERSION_1 } from "../support/fake-device.ts";
import { ALL, PROTOCOL_FEATURES, Stage } from "../support/stage.ts";
import { u32s, u64s } from "../support/wire.ts";

const stage = new Stage();
const { GET_FEATURES, SET_FEATURES, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES } = REQUEST;

describe("features", () => {
  test("the device's with PROTOCOL_FEATURES and LOG_ALL", () => {
    expect(stage.peer.get(GET_FEATURES)).toBe(stage.device.features | (1n << 30n) | (1n << 26n));
    stage.device.canLog = false;
    expect(stage.peer.get(GET_FEATURES)).toBe(stage.device.features | (1n << 30n));
  });

  test("the reply's flags are version and reply, as QEMU insists", () => {
    expect(stage.peer.call(GET_FEATURES)).toMatchObject({ request: 1, flags: 5 });
  });

  test.each([
    [1n << 33n, "ACCESS_PLATFORM"],
    [1n << 63n, "SPEED_DUPLEX"],
    [1n << 49n, "bit_49"],
  ])("0x%s, never offered, is refused by name", (bit, name) => {
    stage.negotiate();
    stage.refuses("SET_FEATURES", `not offered: ${name}`, u64s(VERSION_1 | bit));
  });

  test("the device gets them without the vhost-user bits", () => {
    stage.run();
    expect(stage.device.negotiated).toBe(VERSION_1);
  });

  test("do not change while the device runs", () => {
    stage.run();
    expect(stage.peer.ack(SET_FEATURES, u64s(VERSION_1 | PROTOCOL_FEATURES))).toBe(0n);
    stage.refuses(
      "SET_FEATURES",
      "the device runs and can not change EVENT_IDX",
      u64s(VERSION_1 | PROTOCOL_FEATURES | EVENT_IDX),
    );
  });

  test("without PROTOCOL_FEATURES all rings are enabled, with it none", () => {
    stage.peer.post(SET_FEATURES, u64s(VERSION_1 | PROTOCOL_FEATURES));
    expect(stage.session.rings.some((ring) => ring.enabled)).toBe(false);
    stage.peer.post(SET_FEATURES, u64s(VERSION_1));
    expect(stage.session.rings.every((ring) => ring.enabled)).toBe(true);
  });

  test("without VERSION_1 the start is refused with advice", () => {
    stage.negotiate({ features: PROTOCOL_FEATURES });
    stage.setMemory();
    for (const index of [0, 1]) stage.startRing(index);
    expect(stage.peer.ack(REQUEST.SET_STATUS, u64s(0xfn))).toBe(1n);
    expect(stage.log.lines.join()).toContain("the guest's driver did not accept VIRTIO_F_VERSION_1");
    expect(stage.device.takeCalls()).toEqual([]);
  });
});

describe("protocol features", () => {
  test("are those that are implemented, before any SET_FEATURES", () => {
    expect(stage.peer.get(GET_PROTOCOL_FEATURES)).toBe(ALL);
  });

  test("RARP is not among them where the device can not send a frame of ours", () => {
    stage.device.canAnnounce = false;
    expect(stage.peer.get(GET_PROTOCOL_FEATURES)).toBe(ALL & ~4n);
  });

  test("unknown ones are never accepted", () => {
    stage.negotiate();
    stage.refuses(
      "SET_PROTOCOL_FEATURES",
      "not offered: CONFIG, bit_50",
      u64s(ALL | (1n << 9n) | (1n << 50n)),
    );
  });

  test("REPLY_ACK counts for the message that negotiates it", () => {
    expect(stage.peer.ack(SET_PROTOCOL_FEATURES, u64s(ALL))).toBe(0n);
  });

  test("can be set again but not changed while the device runs", () => {
    stage.run();
    expect(stage.peer.ack(SET_PROTOCOL_FEATURES, u64s(ALL))).toBe(0n);
    stage.refuses("SET_PROTOCOL_FEATURES", "the device runs", u64s(ALL & ~1n));
  });
});

test("GET_QUEUE_NUM gives pairs, on the first connection and without anything negotiated", () => {
  expect(stage.peer.get(REQUEST.GET_QUEUE_NUM)).toBe(4n);
});

test("messages before SET_OWNER are served, SET_OWNER may come twice", () => {
  expect(stage.peer.ack(SET_PROTOCOL_FEATURES, u64s(ALL))).toBe(0n);
  expect(stage.peer.ack(REQUEST.SET_VRING_ENABLE, u32s(0, 1))).toBe(0n);
  for (let i = 0; i < 2; i++) expect(stage.peer.ack(REQUEST.SET_OWNER)).toBe(0n);
  expect(stage.session.owned).toBe(true);
});
