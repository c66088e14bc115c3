import { expect, test } from "bun:test";
import { StateBoard } from "../../../src/daemon/state/state-board.ts";
import { StatePublisher } from "../../../src/daemon/state/state-publisher.ts";
import { EPOLLIN, EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { keptLog } from "../vdpa/fake-function.ts";

function stage(describe: () => unknown) {
  const loop = new EventLoop();
  const board = new StateBoard();
  const { log, lines } = keptLog();
  const fds = [createEventfd(), createEventfd()];
  const publisher = new StatePublisher(board, loop, log, describe);
  for (const fd of fds) {
    loop.add(fd, EPOLLIN, () => {
      drainEventfd(fd);
      publisher.touch();
      publisher.touch();
    });
  }
  const batch = () => {
    for (const fd of fds) signalEventfd(fd);
    loop.runOnce(0);
  };
  const close = () => {
    loop.close();
    for (const fd of fds) closeFd(fd);
  };
  return { loop, board, lines, publisher, batch, close };
}

test("the state is described once for a batch of changes, and not at all without one", () => {
  let described = 0;
  const { loop, board, batch, close } = stage(() => ++described);
  expect(board.read()?.text).toBe("1");
  batch();
  expect(board.read()?.text).toBe("2");
  expect(board.isStill(board.read()!)).toBe(true);
  for (let i = 0; i < 10; i++) loop.runOnce(0);
  expect(described).toBe(2);
  close();
});

test("from a change on until it is shown, addresses are not good", () => {
  const { board, publisher, close } = stage(() => "x");
  const reading = board.read()!;
  publisher.touch();
  expect(board.isStill(reading)).toBe(false);
  publisher.publish();
  expect(board.isStill(board.read()!)).toBe(true);
  close();
});

test("a state that can not be described is one line in the log, and addresses stay not good", () => {
  let broken = false;
  const { board, lines, batch, close } = stage(() => {
    if (broken) throw new Error("odd");
    return "fine";
  });
  broken = true;
  batch();
  batch();
  expect(lines).toEqual(["the state can not be shown: odd"]);
  expect([board.read()!.text, board.isStill(board.read()!)]).toEqual(['"fine"', false]);
  broken = false;
  batch();
  expect(board.isStill(board.read()!)).toBe(true);
  close();
});
