import { describe, expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { PACKED, VERSION_1 } from "../support/fake-device.ts";
import { PROTOCOL_FEATURES, RAM, Stage, UVA } from "../support/stage.ts";
import { u32s, u64s, vringAddr } from "../support/wire.ts";

const stage = new Stage();
const { SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE } = REQUEST;
const SPLIT = VERSION_1 | PROTOCOL_FEATURES;

test("what the device is told about a ring", () => {
  stage.run();
  const desc = RAM.gpa + 0x4000n;
  expect(stage.device.rings.get(1)).toMatchObject({
    index: 1,
    size: 256,
    descGpa: desc,
    driverGpa: desc + 0x1000n,
    deviceGpa: desc + 0x2000n,
    base: 0,
    enabled: true,
  });
});

describe("SET_VRING_NUM", () => {
  test.each([
    [0, "the size is 0"],
    [2048, "the size 2048 is above the device's maximum of 1024"],
    [0xffffffff, "the size 4294967295 is above"],
    [24, "the size 24 of a split ring is not a power of two"],
  ])("of %d is refused", (size, reason) => {
    stage.negotiate();
    stage.refuses("SET_VRING_NUM", `ring 0: ${reason}`, u32s(0, size));
  });

  test("a packed ring may have any size", () => {
    stage.negotiate({ features: SPLIT | PACKED });
    expect(stage.peer.ack(SET_VRING_NUM, u32s(0, 24))).toBe(0n);
  });

  test("of a running ring does not change", () => {
    stage.run();
    expect(stage.peer.ack(SET_VRING_NUM, u32s(0, 256))).toBe(0n);
    stage.refuses("SET_VRING_NUM", "ring 0: it runs with 256 entries", u32s(0, 128));
  });

  test.each([8, 255, 0x10000, 0xffffffff])("of ring %d, which does not exist", (index) => {
    stage.negotiate();
    stage.refuses("SET_VRING_NUM", `ring ${index}: the device has 8`, u32s(index, 256));
  });
});

describe("SET_VRING_ADDR", () => {
  const good = { desc: UVA, avail: UVA + 0x1000n, used: UVA + 0x2000n };
  const end = UVA + RAM.size;
  const prepare = (features = SPLIT) => {
    stage.negotiate({ features });
    stage.setMemory();
    stage.peer.post(SET_VRING_NUM, u32s(0, 256));
  };

  test.each([
    [
      "in no region",
      { desc: 0x1234_0000n },
      "ring 0: descriptor table at UVA 0x12340000: no memory region holds",
    ],
    [
      "across the end of a region",
      { desc: end - 4080n },
      "descriptor table at UVA 0x7f00000ff010 with 4096 bytes: it crosses",
    ],
    ["with an available ring across the end", { avail: end - 514n }, "available ring"],
    ["with a used ring across the end", { used: end - 2048n }, "used ring"],
    [
      "with a misaligned descriptor table",
      { desc: UVA + 8n },
      "descriptor table at 0x100008: it is not aligned to 16 bytes",
    ],
    ["with a misaligned available ring", { avail: UVA + 0x1001n }, "not aligned to 2 bytes"],
    ["with a misaligned used ring", { used: UVA + 0x2002n }, "not aligned to 4 bytes"],
    [
      "with parts on each other",
      { used: UVA + 0xff0n },
      "descriptor table at 0x100000 and used ring at 0x100ff0 overlap",
    ],
    ["at the top of the address space", { used: (1n << 64n) - 4n }, "no memory region holds"],
    ["with unknown flags", { flags: 2 }, "unknown flags 0x2"],
    [
      "with a log address that wraps",
      { flags: 1, log: (1n << 64n) - 16n },
      "log address 0xfffffffffffffff0 + length overflows",
    ],
  ])("%s is refused", (_name, change, reason) => {
    prepare();
    stage.refuses("SET_VRING_ADDR", reason, vringAddr(0, { ...good, ...change }));
  });

  test("parts may end exactly where a region does", () => {
    prepare();
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, { ...good, used: end - 2052n }))).toBe(0n);
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, { ...good, avail: end - 516n }))).toBe(0n);
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, { ...good, desc: end - 4096n }))).toBe(0n);
  });

  test("a packed ring's areas have 4 bytes", () => {
    prepare(SPLIT | PACKED);
    const areas = { desc: UVA, avail: end - 4n, used: end - 8n };
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, areas))).toBe(0n);
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, { ...areas, used: end - 6n }))).not.toBe(0n);
  });

  test("before any memory table", () => {
    stage.negotiate();
    stage.refuses("SET_VRING_ADDR", "its addresses come before any memory table", vringAddr(0, good));
  });

  test("again for a running ring switches its logging and nothing else", () => {
    stage.run();
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, { ...good, flags: 1, log: 1n << 50n }))).toBe(0n);
    expect(stage.session.ring(0)).toMatchObject({ logUsed: true, logGpa: 1n << 50n });
    expect(stage.peer.ack(SET_VRING_ADDR, vringAddr(0, good))).toBe(0n);
    expect(stage.session.ring(0).logUsed).toBe(false);
    expect(stage.device.takeCalls()).toEqual([]);
  });

  test("other addresses of a running ring are refused", () => {
    stage.run();
    stage.refuses(
      "SET_VRING_ADDR",
      "it runs, and its addresses can not change",
      vringAddr(0, { ...good, used: UVA + 0x3000n }),
    );
  });
});

describe("base", () => {
  test("a split base that a fresh device can not take is refused", () => {
    stage.negotiate();
    stage.refuses("SET_VRING_BASE", "ring 0: no ring can start at 0x7", u32s(0, 7));
  });

  test("a split base has 16 bits", () => {
    stage.negotiate();
    stage.refuses("SET_VRING_BASE", "the available index 65536 has more than 16 bits", u32s(0, 65536));
  });

  test("a packed base lies in the ring", () => {
    stage.negotiate({ features: SPLIT | PACKED });
    stage.peer.post(SET_VRING_NUM, u32s(0, 256));
    stage.refuses(
      "SET_VRING_BASE",
      "position 256 is beyond a packed ring of 256 entries",
      u32s(0, 0x81008100),
    );
  });

  test.each([0x80008000, 0x8000])("a packed ring may start at 0x%s", (base) => {
    stage.negotiate({ features: SPLIT | PACKED });
    stage.setMemory();
    for (const index of [0, 1]) stage.startRing(index, { base });
    stage.peer.post(REQUEST.SET_STATUS, u64s(0xfn));
    expect(stage.device.rings.get(0)?.base).toBe(0x80008000);
  });

  test("a base set before the features is checked at the start", () => {
    stage.peer.post(REQUEST.SET_PROTOCOL_FEATURES, u64s(8n));
    expect(stage.peer.ack(SET_VRING_BASE, u32s(0, 5))).toBe(0n);
    stage.peer.post(REQUEST.SET_FEATURES, u64s(SPLIT));
    stage.setMemory();
    stage.startRing(1);
    stage.peer.post(SET_VRING_NUM, u32s(0, 256));
    stage.peer.post(SET_VRING_ADDR, vringAddr(0, stage.addresses(0)));
    stage.refuses("SET_VRING_KICK", "no ring can start at 0x5", u64s(0n), () => [stage.eventfd()]);
  });

  test("of a running ring can not be set", () => {
    stage.run();
    stage.refuses("SET_VRING_BASE", "it runs, and its base can not change", u32s(0, 0));
  });

  test("GET_VRING_BASE stops the ring; twice gives the same; the last one resets the device", () => {
    stage.run();
    stage.device.positions.set(0, 100).set(1, 7);
    expect(stage.peer.call(GET_VRING_BASE, u32s(0, 0)).payload).toEqual(u32s(0, 100));
    expect(stage.peer.call(GET_VRING_BASE, u32s(0, 0)).payload).toEqual(u32s(0, 100));
    expect(stage.device.takeCalls()).toEqual(["stopVring 0"]);
    expect(stage.peer.call(GET_VRING_BASE, u32s(1, 0)).payload).toEqual(u32s(1, 7));
    expect(stage.device.takeCalls()).toEqual(["stopVring 1", "stop"]);
    expect(stage.session.ring(0)).toMatchObject({ started: false, enabled: true, kickFd: -1 });
  });

  test("GET_VRING_BASE of a ring that never ran gives where it would start", () => {
    stage.negotiate();
    expect(stage.peer.call(GET_VRING_BASE, u32s(3, 0)).payload).toEqual(u32s(3, 0));
    stage.peer.post(REQUEST.SET_FEATURES, u64s(SPLIT | PACKED));
    expect(stage.peer.call(GET_VRING_BASE, u32s(3, 0)).payload).toEqual(u32s(3, 0x80008000));
  });

  test("GET_VRING_BASE of no ring can only be answered by a disconnect: an ack would be read as a base", () => {
    stage.negotiate();
    stage.peer.post(GET_VRING_BASE, u32s(8, 0));
    expect(stage.peer.disconnected).toBe(true);
    expect(stage.log.lines.at(-1)).toContain("GET_VRING_BASE refused: ring 8: the device has 8");
  });

  test("one ring is stopped and comes back while the others run", () => {
    stage.run({ pairs: 2 });
    stage.peer.call(GET_VRING_BASE, u32s(2, 0));
    stage.startRing(2);
    expect(stage.device.takeCalls()).toEqual(["stopVring 2", "startVring 2", "setVringCall 2 true"]);
  });

  test("a ring that can not be stopped stops the device", () => {
    stage.run();
    stage.device.failing = "stopVring";
    stage.peer.post(GET_VRING_BASE, u32s(0, 0));
    expect(stage.peer.disconnected).toBe(true);
    expect(stage.device.takeCalls()).toEqual(["stopVring 0", "stop"]);
  });
});

describe("SET_VRING_ENABLE", () => {
  test("before everything else is remembered", () => {
    expect(stage.session.ring(3).enabled).toBe(false);
    stage.peer.post(SET_VRING_ENABLE, u32s(3, 1));
    expect(stage.session.ring(3).enabled).toBe(true);
  });

  test("of a running ring reaches the device once", () => {
    stage.run();
    for (const on of [1, 0, 0, 1]) expect(stage.peer.ack(SET_VRING_ENABLE, u32s(0, on))).toBe(0n);
    expect(stage.device.takeCalls()).toEqual(["setVringState 0 false", "setVringState 0 true"]);
  });

  test("that the device refuses changes nothing", () => {
    stage.run();
    stage.device.failing = "setVringState";
    expect(stage.peer.ack(SET_VRING_ENABLE, u32s(0, 0))).toBe(1n);
    expect(stage.session.ring(0).enabled).toBe(true);
  });

  test("of 2 is refused", () => {
    stage.negotiate();
    stage.refuses("SET_VRING_ENABLE", "enable is 0 or 1, not 2", u32s(0, 2));
  });
});
