import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { sendWithFds } from "../../../src/hw/ffi/fd-passing.ts";
import { unixSocketPair } from "../../../src/hw/ffi/unix-socket.ts";
import { Connection } from "../../../src/vhost-user/connection.ts";
import { Peer } from "./support/peer.ts";
import { frame, join, u32s } from "./support/wire.ts";

let loop: EventLoop;
let connection: Connection;
let peer: Peer;
let received: { request: number; flags: number; payload: number[]; fds: number }[];
let closes: (string | undefined)[];
let fdsAtStart: number;

const openFds = () => readdirSync("/proc/self/fd").length;

function connect(): void {
  const [ours, theirs] = unixSocketPair();
  received = [];
  closes = [];
  connection = new Connection(loop, ours, {
    onMessage: ({ request, flags, payload, fds }) =>
      void received.push({ request, flags, payload: [...payload], fds: fds.count }),
    onClose: (reason) => void closes.push(reason?.message),
  });
  peer = new Peer(loop, theirs);
}

beforeEach(() => {
  fdsAtStart = openFds();
  loop = new EventLoop();
  connect();
});

afterEach(() => {
  connection.close();
  peer.close();
  loop.close();
  expect(openFds()).toBe(fdsAtStart);
});

/** `n` eventfds, closed when `body` has returned: what was sent lives on in the socket. */
function withFds<T>(n: number, body: (fds: number[]) => T): T {
  const fds = Array.from({ length: n }, createEventfd);
  try {
    return body(fds);
  } finally {
    for (const fd of fds) closeFd(fd);
  }
}

const anyMessage = fc.record({
  request: fc.integer({ min: 0, max: 0xffffffff }),
  flags: fc.integer({ min: 0, max: 0xffffffff }),
  payload: fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 60 }),
  fds: fc.integer({ min: 0, max: 8 }),
});

test("messages arrive whole and with their own fds, however their bytes are split", () => {
  fc.assert(
    fc.property(
      fc.array(anyMessage, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 20 }),
      (messages, steps) => {
        connection.close();
        peer.close();
        connect();
        let step = 0;
        for (const { request, flags, payload, fds } of messages) {
          const bytes = frame(request, flags, Uint8Array.from(payload));
          withFds(fds, (numbers) => {
            for (let at = 0; at < bytes.length; ) {
              const end = at + steps[step++ % steps.length]!;
              sendWithFds(peer.fd, bytes.subarray(at, end), at === 0 ? numbers : []);
              at = end;
              if (step % 3 === 0) peer.pump();
            }
          });
        }
        peer.pump();
        expect(received).toEqual(messages);
        expect(closes).toEqual([]);
      },
    ),
    { numRuns: 200 },
  );
});

test("fds that come with the payload belong to the message too", () => {
  const bytes = frame(7, 1, u32s(1, 2));
  withFds(3, (fds) => {
    peer.raw(bytes.subarray(0, 12), fds.slice(0, 1));
    peer.raw(bytes.subarray(12), fds.slice(1));
  });
  peer.raw(frame(8, 1, u32s()));
  peer.pump();
  expect(received.map(({ request, fds }) => [request, fds])).toEqual([
    [7, 3],
    [8, 0],
  ]);
});

test.each([9, 32, 253])("%d fds end the connection and are closed", (count) => {
  withFds(count, (fds) => peer.raw(frame(5, 1, u32s()), fds));
  peer.pump();
  expect(closes).toEqual([`${count} file descriptors in one message; 8 are allowed`]);
});

test("nine fds on one message in two parts end it likewise", () => {
  const bytes = frame(5, 1, u32s(0));
  withFds(5, (fds) => {
    peer.raw(bytes.subarray(0, 12), fds);
    peer.raw(bytes.subarray(12), fds);
  });
  peer.pump();
  expect(closes).toEqual(["10 file descriptors in one message; 8 are allowed"]);
});

test.each([4097, 0xffffffff])("a size of %d ends the connection before the payload", (size) => {
  peer.raw(frame(2, 1, u32s(), size));
  peer.pump();
  expect(closes).toEqual([`SET_FEATURES announces a payload of ${size} bytes; 4096 are allowed`]);
});

test("4096 bytes are allowed", () => {
  peer.raw(frame(2, 1, new Uint8Array(4096)));
  peer.pump();
  expect(received[0]?.payload.length).toBe(4096);
});

test.each([1, 11, 12, 19])("a peer that closes after %d bytes was in the middle of a message", (length) => {
  peer.raw(frame(2, 1, u32s(1, 2)).subarray(0, length));
  peer.close();
  expect(closes).toEqual(["the peer closed in the middle of a message"]);
});

test("a peer that closes between messages just closed", () => {
  peer.raw(frame(2, 1, u32s(1, 2)));
  peer.close();
  expect(received.length).toBe(1);
  expect(closes).toEqual([undefined]);
});

test("fds of a message that never becomes whole are closed", () => {
  withFds(4, (fds) => peer.raw(frame(2, 1, u32s(1, 2)).subarray(0, 14), fds));
  peer.pump();
  peer.close();
  expect(closes.length).toBe(1);
});

test("a flood is served in parts, so that others get their turn", () => {
  let others = 0;
  const other = createEventfd();
  loop.add(other, 1, () => {
    others = received.length;
    loop.remove(other);
  });
  peer.raw(join(...Array.from({ length: 1000 }, () => frame(1, 1, u32s()))));
  signalEventfd(other);
  peer.pump();
  expect(received.length).toBe(1000);
  expect(others).toBeLessThan(200);
  closeFd(other);
});

test("a message that can not be sent for want of room is an error, at once where nobody may wait", () => {
  const payload = new Uint8Array(new ArrayBuffer(4096));
  const fill = () => {
    for (let i = 0; i < 10_000; i++) connection.send(1, 1, payload, [], false);
  };
  expect(fill).toThrow("sending GET_FEATURES: the peer has not read its socket");
});

test("what the handler throws ends the connection", () => {
  const [ours, theirs] = unixSocketPair();
  const reasons: unknown[] = [];
  const failing = new Connection(loop, ours, {
    onMessage: () => {
      throw new Error("handler failed");
    },
    onClose: (reason) => void reasons.push(reason?.message),
  });
  const other = new Peer(loop, theirs);
  other.post(1);
  expect(reasons).toEqual(["handler failed"]);
  expect(failing.open).toBe(false);
  other.close();
});
