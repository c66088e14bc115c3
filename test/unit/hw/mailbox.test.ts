import { expect, test } from "bun:test";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import {
  createMailbox,
  extraOf,
  MailboxClient,
  type MailboxProtocol,
  MailboxServer,
} from "../../../src/hw/mailbox.ts";
import { fromText, toText } from "../../../src/hw/plain-text.ts";

const PROTOCOL: MailboxProtocol<"ask" | "tell"> = { ops: ["ask", "tell"], who: "the other side" };
const LIMIT_MS = 20;

test("data keeps its 64-bit numbers, and what looks like one", () => {
  const data = {
    gpa: 0xffff_ffff_ffff_ffffn,
    negative: -1n,
    list: [1n, "1n", 1, null, true, { $bigint: 7 }],
    nested: { text: "$bigint", none: null },
  };
  expect(fromText(toText(data))).toEqual(data);
});

test("a request that nobody answers ends after its limit, and there is no second one", () => {
  const client = new MailboxClient(createMailbox(1024), PROTOCOL, LIMIT_MS);
  const why = "the other side is not reachable: its thread has not answered within 0.02 s";
  expect(client.lost).toBeUndefined();
  expect(() => client.call("ask")).toThrow(why);
  expect(client.lost?.message).toBe(why);
  expect(() => client.call("tell")).toThrow(why);
  expect(() => client.post(1)).toThrow(why);
});

test("a side that has died is not waited for", () => {
  const link = createMailbox(1024);
  const client = new MailboxClient(link, PROTOCOL);
  const server = new MailboxServer(link, PROTOCOL);
  expect(client.dead).toBe(false);
  server.die(new Error("on purpose"));
  expect(client.dead).toBe(true);
  expect(() => client.call("ask")).toThrow("the other side is not reachable: its thread has died");
  client.close();
  client.close();
});

test("flags that are raised are taken once", () => {
  const link = createMailbox(64);
  const client = new MailboxClient(link, PROTOCOL);
  const server = new MailboxServer(link, PROTOCOL);
  for (const flag of [0, 5, 31]) client.post(flag);
  expect(server.takePosts() >>> 0).toBe(0x8000_0021);
  expect(server.takePosts()).toBe(0);
  client.close();
});

test("what does not fit is refused, and what the sides share besides is left alone", () => {
  const link = createMailbox(64, 12);
  const { buffer, offset } = extraOf(link);
  const shared = new Int32Array(buffer, offset, 3).fill(7);
  const client = new MailboxClient(link, PROTOCOL, LIMIT_MS);
  expect(() => client.call("ask", { data: "x".repeat(63) })).toThrow("does not fit the mailbox");
  expect(() => client.call("ask", { numbers: [1, 2, 3, 4], big: 5n, data: "x".repeat(62) })).toThrow(
    "answered",
  );
  expect([...shared]).toEqual([7, 7, 7]);
  closeFd(link.requestFd);
});
