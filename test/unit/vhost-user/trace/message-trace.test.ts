import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { LogEvent } from "../../../../src/hw/log.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import {
  type ChannelName,
  MessageTrace,
  type TracedMessage,
} from "../../../../src/vhost-user/trace/message-trace.ts";
import { join, memReg, memTable, u32s, u64s, vringAddr } from "../support/wire.ts";

const NET = 1;
const NONE = u32s();

function told(message: Partial<TracedMessage>, channel: ChannelName = "main") {
  const lines: { text: string; event: LogEvent }[] = [];
  const trace = new MessageTrace((text, event) => void lines.push({ text, event }), channel, NET);
  trace.tell({ direction: "in", request: REQUEST.GET_FEATURES, flags: 1, payload: NONE, fds: 0, ...message });
  expect(lines).toHaveLength(1);
  return lines[0]!;
}

const region = { gpa: 0x1000n, size: 0x200000n, uva: 0x7f00_0000_0000n, mmapOffset: 0x1000n };
const regionText =
  "guest_phys_addr=0x1000 memory_size=0x200000 userspace_addr=0x7f0000000000 mmap_offset=0x1000";

describe("a message of the front-end", () => {
  test.each<[keyof typeof REQUEST, number, Uint8Array, number, string]>([
    ["GET_FEATURES", 1, NONE, 0, ""],
    ["SET_OWNER", 9, NONE, 0, " need_reply"],
    [
      "SET_FEATURES",
      1,
      u64s(0x1_4400_8000n),
      0,
      ": u64=0x144008000 features=[LOG_ALL PROTOCOL_FEATURES MRG_RXBUF VERSION_1]",
    ],
    [
      "SET_PROTOCOL_FEATURES",
      1,
      u64s(0x80000000_00000009n),
      0,
      ": u64=0x8000000000000009 features=[MQ REPLY_ACK bit_63]",
    ],
    ["SET_MEM_TABLE", 9, memTable([region]), 1, ` need_reply fds=1: nregions=1 regions=[(${regionText})]`],
    ["SET_LOG_BASE", 1, u64s(0x8000n, 0n), 1, " fds=1: mmap_size=0x8000 mmap_offset=0x0"],
    ["SET_VRING_NUM", 1, u32s(3, 256), 0, ": index=3 num=256"],
    [
      "SET_VRING_ADDR",
      1,
      vringAddr(1, { desc: 0x10n, used: 0x30n, avail: 0x20n, log: 0x40n, flags: 1 }),
      0,
      ": index=1 desc_user_addr=0x10 used_user_addr=0x30 avail_user_addr=0x20 log_guest_addr=0x40 flags=[LOG]",
    ],
    [
      "SET_VRING_ADDR",
      1,
      vringAddr(1, { desc: 0n, used: 0n, avail: 0n, flags: 6 }),
      0,
      ": index=1 desc_user_addr=0x0 used_user_addr=0x0 avail_user_addr=0x0 log_guest_addr=0x0 flags=0x6",
    ],
    ["SET_VRING_BASE", 1, u32s(0, 513), 0, ": index=0 num=513"],
    [
      "SET_VRING_BASE",
      1,
      u32s(0, 0x0007_8009),
      0,
      ": index=0 num=0x78009 avail=(at=9 wrap=1) used=(at=7 wrap=0)",
    ],
    ["SET_VRING_KICK", 1, u64s(2n), 1, " fds=1: index=2 nofd=false"],
    ["SET_VRING_CALL", 1, u64s(0x102n), 0, ": index=2 nofd=true"],
    ["NET_SET_MTU", 1, u64s(1500n), 0, ": u64=1500"],
    ["SEND_RARP", 1, u64s(0x5634_1200_5452n), 0, ": mac=52:54:00:12:34:56"],
    [
      "SET_STATUS",
      9,
      u64s(0xfn),
      0,
      " need_reply: u64=0xf status=[ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK]",
    ],
    ["ADD_MEM_REG", 9, memReg(region), 1, ` need_reply fds=1: region=(${regionText})`],
    ["SET_DEVICE_STATE_FD", 1, u32s(1, 0), 1, " fds=1: direction=load phase=stopped"],
    ["SET_DEVICE_STATE_FD", 1, u32s(7, 9), 1, " fds=1: direction=7 phase=9"],
    // Those that are refused are what somebody looks for.
    ["GET_CONFIG", 1, join(u32s(0, 8, 0), u64s(0n)), 0, ": offset=0 size=8 flags=0"],
    [
      "IOTLB_MSG",
      9,
      join(u64s(0x1000n, 0x2000n, 0x3000n), Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0)),
      0,
      " need_reply: iova=0x1000 size=0x2000 uaddr=0x3000 perm=3 type=1",
    ],
    [
      "GET_INFLIGHT_FD",
      1,
      join(u64s(0n, 0n), u32s(0x1000002, 0)),
      0,
      ": mmap_size=0x0 mmap_offset=0x0 num_queues=2 queue_size=256",
    ],
  ])("%s", (name, flags, payload, fds, rest) => {
    expect(told({ request: REQUEST[name], flags, payload, fds }).text).toBe(`<- ${name}${rest}`);
  });

  test("has the same in its fields, 64-bit values as text", () => {
    const { event } = told({ request: REQUEST.ADD_MEM_REG, flags: 9, payload: memReg(region), fds: 1 });
    expect(event).toEqual({
      event: "vhost_user_message",
      channel: "main",
      direction: "in",
      message: "ADD_MEM_REG",
      flags: ["need_reply"],
      fds: 1,
      payload: {
        region: {
          guest_phys_addr: "0x1000",
          memory_size: "0x200000",
          userspace_addr: "0x7f0000000000",
          mmap_offset: "0x1000",
        },
      },
    });
  });
});

describe("an answer", () => {
  test.each<[keyof typeof REQUEST, Uint8Array, string]>([
    ["GET_FEATURES", u64s(0x4000_0000n), "u64=0x40000000 features=[PROTOCOL_FEATURES]"],
    ["GET_QUEUE_NUM", u64s(8n), "u64=8"],
    ["GET_VRING_BASE", u32s(1, 7), "index=1 num=7"],
    ["GET_STATUS", u64s(0x40n), "u64=0x40 status=[NEEDS_RESET]"],
    ["SET_MEM_TABLE", u64s(0n), "ack=ok"],
    ["SET_MEM_TABLE", u64s(1n), "ack=refused (1)"],
    ["SET_DEVICE_STATE_FD", u64s(0x101n), "error=1 nofd=true"],
    ["GET_CONFIG", NONE, ""],
  ])("to %s", (name, payload, rest) => {
    const { text } = told({ direction: "out", request: REQUEST[name], flags: 5, payload });
    expect(text).toBe(`-> ${name} reply${rest && `: ${rest}`}`);
  });
});

test("the back channel has numbers of its own", () => {
  const area = u64s(0x101n, 4096n, 0x3000n);
  expect(told({ direction: "out", request: 3, flags: 9, payload: area, fds: 1 }, "back").text).toBe(
    "back channel -> VRING_HOST_NOTIFIER_MSG need_reply fds=1: index=1 nofd=true size=0x1000 offset=0x3000",
  );
  expect(told({ request: 3, flags: 5, payload: u64s(0n) }, "back").text).toBe(
    "back channel <- VRING_HOST_NOTIFIER_MSG reply: ack=ok",
  );
  expect(told({ request: 5, flags: 1 }, "back").text).toBe("back channel <- back-end request 5");
});

describe("what is against the rules", () => {
  test.each<[string, Partial<TracedMessage>, string]>([
    [
      "an unknown request",
      { request: 99, flags: 9, payload: u32s(1) },
      "request 99 need_reply: size=4 bytes=01000000",
    ],
    ["another version", { request: 3, flags: 2 }, "SET_OWNER version=2"],
    ["unknown flags", { request: 3, flags: 0xfffffff1 }, "SET_OWNER flags=0xfffffff0"],
    [
      "a short payload",
      { request: 8, payload: Uint8Array.of(1, 2, 3) },
      "SET_VRING_NUM: size=3 bytes=010203",
    ],
    [
      "a long payload",
      { request: 8, payload: u32s(0, 1, 2) },
      "SET_VRING_NUM: index=0 num=1 further_bytes=4",
    ],
    [
      "more bytes than anyone reads",
      { request: 99, payload: new Uint8Array(4096) },
      `request 99: size=4096 bytes=${"00".repeat(32)}…`,
    ],
    [
      "a table that promises more",
      { request: 5, payload: memTable([], 0xffffffff) },
      "SET_MEM_TABLE: nregions=4294967295 regions=[]",
    ],
  ])("%s", (_, message, text) => {
    expect(told(message).text).toBe(`<- ${text}`);
  });

  test("whatever comes is one bounded line of plain characters", () => {
    const any = fc.record({
      direction: fc.constantFrom("in", "out"),
      request: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 0xffffffff })),
      flags: fc.oneof(fc.constantFrom(1, 5, 9), fc.integer({ min: 0, max: 0xffffffff })),
      payload: fc.uint8Array({ maxLength: 4096, size: "max" }),
      fds: fc.integer({ min: 0, max: 8 }),
    });
    fc.assert(
      fc.property(any, fc.constantFrom("main", "back"), (message, channel) => {
        const { text, event } = told(message as TracedMessage, channel as ChannelName);
        expect(text).toMatch(/^[\x20-\x7e…]{1,3000}$/);
        expect(JSON.parse(JSON.stringify(event))).toEqual(event as object);
      }),
    );
  });
});
