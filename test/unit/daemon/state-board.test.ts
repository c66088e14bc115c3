import { expect, test } from "bun:test";
import { StateBoard } from "../../../src/daemon/state/state-board.ts";

test("what one thread writes, another reads", () => {
  const writer = new StateBoard();
  const reader = new StateBoard(writer.memory);
  expect(reader.read()).toBeUndefined();
  expect(writer.write("erste Zeile: ä")).toBe(true);
  expect(reader.read()?.text).toBe("erste Zeile: ä");
  expect(writer.write("kurz")).toBe(true);
  expect(reader.read()?.text).toBe("kurz");
});

test("a text that does not fit leaves the board as it was", () => {
  const board = new StateBoard();
  board.write("before");
  expect(board.write("x".repeat((1 << 20) + 1))).toBe(false);
  expect(board.read()?.text).toBe("before");
  expect(board.write("y".repeat(1 << 20))).toBe(true);
});

test("a reading is good until something begins to change, and again once that is written", () => {
  const board = new StateBoard();
  board.write("a");
  const first = board.read()!;
  expect(board.isStill(first)).toBe(true);
  board.beginChange();
  board.beginChange();
  expect(board.isStill(first)).toBe(false);
  const during = board.read()!;
  expect([during.text, board.isStill(during)]).toEqual(["a", false]);
  board.write("b");
  expect([board.isStill(first), board.isStill(during)]).toEqual([false, false]);
  expect(board.isStill(board.read()!)).toBe(true);
  // Written without a change announced: addresses are as they were.
  const last = board.read()!;
  board.write("b");
  expect(board.isStill(last)).toBe(true);
});

test("a board whose writer died while writing is not read for ever", () => {
  const board = new StateBoard();
  board.write("a");
  Atomics.add(new Int32Array(board.memory, 0, 1), 0, 1);
  expect(board.read()).toBeUndefined();
});

test("a text is read whole while another thread writes without a pause", async () => {
  const board = new StateBoard();
  const path = new URL("../../../src/daemon/state/state-board.ts", import.meta.url).href;
  const source = `import { StateBoard } from ${JSON.stringify(path)};
    import { workerData, parentPort } from "node:worker_threads";
    const board = new StateBoard(workerData.board);
    const stop = new Int32Array(workerData.stop);
    const texts = Array.from({ length: 10 }, (_, i) => String(i).repeat(1000 + 5000 * i));
    for (let n = 0; Atomics.load(stop, 0) === 0; n++) {
      board.write(texts[n % 10]);
      for (let i = 0; i < 200; i++) Atomics.load(stop, 0);
    }
    parentPort.postMessage("done");`;
  const { Worker } = await import("node:worker_threads");
  const stop = new SharedArrayBuffer(4);
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { board: board.memory, stop },
  });
  const ended = new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  let whole = 0;
  const deadline = performance.now() + 20_000;
  while (whole < 2000 && performance.now() < deadline) {
    const reading = board.read();
    if (reading === undefined) await Bun.sleep(1);
    else {
      const digit = Number(reading.text[0]);
      if (reading.text !== String(digit).repeat(1000 + 5000 * digit)) throw new Error("a torn text was read");
      whole++;
    }
  }
  Atomics.store(new Int32Array(stop), 0, 1);
  await ended;
  expect(whole).toBe(2000);
}, 60_000);
