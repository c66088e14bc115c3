import { describe, expect, test } from "bun:test";
import { createEventfd } from "../../../../src/hw/ffi/eventfd.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { RAM, Stage } from "../support/stage.ts";
import { memReg, memTable, u32s, u64s } from "../support/wire.ts";

const stage = new Stage();
const { SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG } = REQUEST;
const OTHER = { gpa: 0x4000_0000n, size: 0x10_0000n, uva: 0x7e00_0000_0000n, mmapOffset: 0n };

describe("SET_MEM_TABLE", () => {
  test("gives the device exactly the table", () => {
    stage.negotiate();
    stage.peer.post(SET_MEM_TABLE, memTable([RAM, OTHER]), [stage.ram(), stage.ram()]);
    expect(stage.device.dma.ranges()).toEqual(["100000-200000", "40000000-40100000"]);
    const [ram] = [stage.ram()];
    expect(stage.peer.ack(SET_MEM_TABLE, memTable([OTHER]), [ram])).toBe(0n);
    expect(stage.device.dma.ranges()).toEqual(["40000000-40100000"]);
  });

  test("may grow while rings run, but not move their memory away", () => {
    stage.run();
    const other = stage.ram();
    const ram = stage.ram();
    expect(stage.peer.ack(SET_MEM_TABLE, memTable([RAM, OTHER]), [ram, other])).toBe(0n);
    stage.refuses(
      "SET_MEM_TABLE",
      "ring 0: descriptor table at UVA 0x7f0000000000",
      memTable([OTHER]),
      () => [other],
    );
  });

  test("does not move a running ring to another guest address", () => {
    stage.run();
    stage.refuses(
      "SET_MEM_TABLE",
      "ring 0: it runs, and the new memory table moves it",
      memTable([{ ...RAM, gpa: 0n }]),
      () => [stage.ram()],
    );
  });

  test.each([
    ["no regions", memTable([]), 0, "without regions"],
    ["nine regions", memTable([], 9), 0, "memory table of 9 regions: one message carries at most 8"],
    ["a count beyond its payload", memTable([RAM], 2), 2, "a payload of 40 bytes is too short"],
    ["too few fds", memTable([RAM, OTHER]), 1, "1 file descriptors: the message carries 2"],
    ["too many fds", memTable([RAM]), 2, "2 file descriptors: the message carries 1"],
    ["half a head", new Uint8Array(4), 0, "payload of 4 bytes: it has at least 8"],
    ["overlapping regions", memTable([RAM, { ...OTHER, gpa: RAM.gpa }]), 2, "their guest addresses overlap"],
    ["a region over a reserved range", memTable([{ ...RAM, gpa: 0xfee00000n }]), 1, "0xfee00000–0xfeefffff"],
  ])("refuses %s", (_name, payload, fds, reason) => {
    stage.negotiate();
    stage.refuses("SET_MEM_TABLE", reason, payload, () => Array.from({ length: fds }, () => stage.ram()));
  });

  test("refuses memory in an eventfd", () => {
    stage.negotiate();
    stage.refuses("SET_MEM_TABLE", "no memory file but anon_inode:[eventfd]", memTable([RAM]), () => [
      stage.keep(createEventfd()),
    ]);
  });
});

describe("slots", () => {
  test("are 509, before and after negotiation", () => {
    expect(stage.peer.get(REQUEST.GET_MAX_MEM_SLOTS)).toBe(509n);
  });

  test("are added and removed one by one; an fd with REM_MEM_REG is tolerated", () => {
    stage.negotiate();
    expect(stage.peer.ack(ADD_MEM_REG, memReg(RAM), [stage.ram()])).toBe(0n);
    expect(stage.peer.ack(ADD_MEM_REG, memReg(OTHER), [stage.ram()])).toBe(0n);
    expect(stage.peer.ack(REM_MEM_REG, memReg({ ...RAM, mmapOffset: 99n }), [stage.ram()])).toBe(0n);
    expect(stage.device.dma.ranges()).toEqual(["40000000-40100000"]);
  });

  test("memory of stopped rings can go; the rings start once it is back", () => {
    stage.run();
    for (const index of [0, 1]) stage.peer.call(REQUEST.GET_VRING_BASE, u32s(index, 0));
    expect(stage.peer.ack(REM_MEM_REG, memReg(RAM))).toBe(0n);
    for (const index of [0n, 1n]) stage.peer.post(REQUEST.SET_VRING_KICK, u64s(index), [stage.eventfd()]);
    expect(stage.device.running).toBe(false);
    expect(stage.peer.ack(ADD_MEM_REG, memReg(RAM), [stage.ram()])).toBe(0n);
    expect(stage.device.takeCalls()).toEqual(["stopVring 0", "stopVring 1", "stop", "configure 0,1"]);
  });

  test("the memory of a running ring stays", () => {
    stage.run();
    stage.refuses("REM_MEM_REG", "ring 0: descriptor table at UVA", memReg(RAM));
  });

  test("an unknown region can not be removed", () => {
    stage.negotiate();
    stage.refuses("REM_MEM_REG", "no region has this GPA", memReg(RAM));
  });

  test("they end", () => {
    stage.negotiate();
    const fd = stage.ram(4096);
    const page = (i: bigint) => ({ gpa: i << 16n, uva: UVA_OF + (i << 16n), size: 4096n, mmapOffset: 0n });
    for (let i = 0n; i < 509n; i++) stage.peer.post(ADD_MEM_REG, memReg(page(i)), [fd]);
    expect(stage.device.memory.count).toBe(509);
    stage.refuses("ADD_MEM_REG", "510 memory regions: there are 509 slots", memReg(page(509n)), () => [fd]);
  });

  test("need their protocol feature", () => {
    stage.negotiate({ protocol: 1n << 3n });
    stage.refuses("ADD_MEM_REG", "CONFIGURE_MEM_SLOTS was not negotiated", memReg(RAM), () => [stage.ram()]);
  });
});

const UVA_OF = 0x7000_0000_0000n;
