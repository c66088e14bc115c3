import { afterEach, describe, expect, test } from "bun:test";
import { createEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd, isEventfd } from "../../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../../src/hw/ffi/unix-socket.ts";
import { Channel, PeerClosed } from "../../support/front-end/channel.ts";
import { FrontEnd, Refused } from "../../support/front-end/front-end.ts";
import { memTable, message, Protocol, Request, vringAddr, words } from "../../support/front-end/protocol.ts";
import { Timeout } from "../../support/front-end/wait.ts";

const open: Channel[] = [];
afterEach(() => {
  for (const channel of open.splice(0)) channel.close();
});

function pair(): [Channel, Channel] {
  const [a, b] = unixSocketPair().map((fd) => new Channel(fd)) as [Channel, Channel];
  open.push(a, b);
  return [a, b];
}

describe("payloads on the wire", () => {
  test("a header is request, flags, size", () => {
    expect([...message(17, words(1n))]).toEqual([
      17, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });

  test("SET_VRING_ADDR is 40 bytes: index, flags, descriptor, used, available, log", () => {
    const payload = vringAddr(1, { flags: 2, descUva: 3n, usedUva: 4n, availUva: 5n, logGpa: 6n });
    expect(payload).toEqual(words(1, 2, 3n, 4n, 5n, 6n));
    expect(payload).toHaveLength(40);
  });

  test("SET_MEM_TABLE has 8 bytes and 32 per region", () => {
    expect(memTable([{ gpa: 1n, size: 2n, uva: 3n, mmapOffset: 4n }])).toEqual(words(1, 0, 1n, 2n, 3n, 4n));
  });
});

describe("a channel", () => {
  test("carries messages and fds, however they are cut", async () => {
    const [a, b] = pair();
    const fd = createEventfd();
    const bytes = message(Request.SET_VRING_KICK, words(3n));
    await a.send(bytes.subarray(0, 5), [fd]);
    const received = b.receive();
    await a.send(bytes.subarray(5));
    const { request, payload, fds } = await received;
    expect(request).toBe(Request.SET_VRING_KICK);
    expect(payload).toEqual(Buffer.from(words(3n)));
    expect(fds.map(isEventfd)).toEqual([true]);
    [...fds, fd].forEach(closeFd);
  });

  test("a peer that closes and one that says nothing are told apart", async () => {
    const [a, b] = pair();
    await expect(a.receive(20)).rejects.toBeInstanceOf(Timeout);
    b.close();
    await expect(a.receive()).rejects.toBeInstanceOf(PeerClosed);
    await a.closed();
  });
});

test("a request that is acknowledged with an error throws", async () => {
  const [a, b] = pair();
  const fe = new FrontEnd(a);
  fe.protocolFeatures = Protocol.REPLY_ACK;
  const outcome = fe.setVringNum(0, 0);
  expect((await b.receive()).flags).toBe(9);
  await b.send(message(Request.SET_VRING_NUM, words(1n), { flags: 5 }));
  await expect(outcome).rejects.toBeInstanceOf(Refused);
});
