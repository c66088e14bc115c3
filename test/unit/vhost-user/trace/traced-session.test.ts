import { expect, test } from "bun:test";
import { closeFd } from "../../../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../../../src/hw/ffi/unix-socket.ts";
import { Connection } from "../../../../src/vhost-user/connection.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { TracedConnection } from "../../../../src/vhost-user/trace/traced-connection.ts";
import { Peer } from "../support/peer.ts";
import { Stage } from "../support/stage.ts";
import { frame, u32s, u64s } from "../support/wire.ts";

const stage = new Stage();

/** A front-end of which each message is told. */
function traced(): string[] {
  const lines: string[] = [];
  stage.peer.close();
  stage.loop.runOnce(0);
  stage.trace = (text) => void lines.push(text);
  stage.connect();
  return lines;
}

test("messages and answers in the order in which they pass, refusals too", () => {
  const lines = traced();
  stage.negotiate();
  stage.peer.get(REQUEST.GET_QUEUE_NUM);
  stage.peer.ack(REQUEST.SET_VRING_NUM, u32s(99, 256));
  stage.peer.post(REQUEST.SET_VRING_NUM, u32s(0, 0));
  expect(stage.peer.disconnected).toBe(true);
  expect(lines.slice(3)).toEqual([
    "<- GET_QUEUE_NUM",
    expect.stringMatching(/^-> GET_QUEUE_NUM reply: u64=\d+$/),
    "<- SET_VRING_NUM need_reply: index=99 num=256",
    "-> SET_VRING_NUM reply: ack=refused (1)",
    "<- SET_VRING_NUM: index=0 num=0",
  ]);
});

test("the back channel of a told session is told too", () => {
  const lines = traced();
  const page = { fd: stage.ram(), offset: 0x3000n, size: 4096 };
  stage.device.notifyAreas.set(0, page);
  stage.run();
  const [ours, theirs] = unixSocketPair();
  stage.peer.ack(REQUEST.SET_BACKEND_REQ_FD, undefined, [theirs]);
  closeFd(theirs);
  const channel = new Peer(stage.loop, ours);
  stage.afterwards(() => channel.close());
  for (const fd of channel.receive().fds) closeFd(fd);
  channel.raw(frame(3, 5, u64s(0n)));
  channel.pump();
  expect(lines.filter((line) => line.startsWith("back channel"))).toEqual([
    "back channel -> VRING_HOST_NOTIFIER_MSG need_reply fds=1: index=0 nofd=false size=0x1000 offset=0x3000",
    "back channel <- VRING_HOST_NOTIFIER_MSG reply: ack=ok",
  ]);
});

test("where nobody wants to know, the connection is the plain one", () => {
  expect(Object.getPrototypeOf(stage.frontEnd.connection)).toBe(Connection.prototype);
  traced();
  expect(stage.frontEnd.connection).toBeInstanceOf(TracedConnection);
});
