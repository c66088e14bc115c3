import { describe, expect, test } from "bun:test";
import { HANDLERS } from "../../../src/vhost-user/handlers.ts";
import { REQUEST, type RequestName } from "../../../src/vhost-user/protocol.ts";
import { Stage } from "./support/stage.ts";
import { frame, u32s, u64s } from "./support/wire.ts";

const stage = new Stage();
const rows = Object.entries(HANDLERS) as [RequestName, (typeof HANDLERS)[RequestName]][];

test("the table has a row for every request of the protocol, in the order of their ids", () => {
  const ids: number[] = rows.map(([name]) => REQUEST[name]);
  expect(ids).toEqual(Array.from({ length: 44 }, (_, i) => i + 1));
});

describe("header", () => {
  test.each([
    [0x0, "protocol version 0; this back-end speaks 1"],
    [0x2, "protocol version 2"],
    [0x5, "a reply, where only requests may come"],
    [0x11, "reserved flags are set"],
    [0x80000009, "reserved flags are set"],
  ])("flags 0x%s end the connection", (flags, reason) => {
    stage.negotiate();
    stage.peer.raw(frame(REQUEST.GET_FEATURES, flags, u32s()));
    expect(stage.peer.disconnected).toBe(true);
    expect(stage.log.lines).toEqual([expect.stringContaining(reason)]);
  });

  test.each([0, 45, 1000, 0xffffffff])("request %d is unknown", (request) => {
    stage.negotiate();
    stage.peer.raw(frame(request, 9, u32s()));
    stage.peer.pump();
    expect(stage.peer.receive()).toMatchObject({ request, payload: u64s(1n) });
    stage.peer.raw(frame(request, 1, u32s()));
    expect(stage.peer.disconnected).toBe(true);
    const line = `request ${request} refused: not supported: no such request is known`;
    expect(stage.log.lines).toEqual([expect.stringContaining(line), expect.stringContaining(line)]);
  });
});

describe.each(rows)("%s", (name, row) => {
  if ("refused" in row) {
    test(`is refused: ${row.refused}`, () => {
      stage.negotiate();
      if (!row.errorReply) return stage.refuses(name, row.refused);
      expect(stage.peer.call(REQUEST[name]).payload).toEqual(row.errorReply);
      expect(stage.log.lines[0]).toContain(row.refused);
    });
  } else {
    test("too many fds are refused and closed, and the next front-end is served", () => {
      stage.negotiate();
      stage.peer.post(
        REQUEST[name],
        new Uint8Array(row.takes.least),
        Array.from({ length: 8 }, stage.eventfd),
      );
      expect(stage.log.lines.at(-1)).toMatch(/file descriptors|without regions/);
      stage.peer.close();
      stage.connect();
      stage.run();
    });
    if (row.takes.least > 0)
      test("a payload that is too short is refused", () => {
        stage.negotiate();
        stage.peer.post(REQUEST[name], new Uint8Array(row.takes.least - 1));
        expect(stage.log.lines.at(-1)).toContain(
          `payload of ${row.takes.least - 1} bytes: it has at least ${row.takes.least}`,
        );
      });
  }
});

test("NEED_REPLY means nothing before REPLY_ACK is negotiated", () => {
  stage.peer.raw(frame(REQUEST.SET_OWNER, 9, u32s()));
  stage.peer.pump();
  expect(stage.peer.silent).toBe(true);
  stage.peer.raw(frame(REQUEST.SET_VRING_NUM, 9, u32s(0, 0)));
  expect(stage.peer.disconnected).toBe(true);
});

test("a message with a reply of its own gets it once, NEED_REPLY or not", () => {
  stage.negotiate();
  stage.peer.raw(frame(REQUEST.GET_QUEUE_NUM, 9, u32s()));
  stage.peer.pump();
  expect(stage.peer.receive().payload).toEqual(u64s(4n));
  expect(stage.peer.silent).toBe(true);
});

test("messages and refusals are counted", () => {
  stage.negotiate();
  stage.peer.ack(REQUEST.SET_VRING_NUM, u32s(0, 0));
  expect(stage.counted).toEqual({ messages: 4, refused_messages: 1 });
});
