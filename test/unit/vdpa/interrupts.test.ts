import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { Interrupts } from "../../../src/vdpa/interrupts.ts";
import { fakeFunction, keptLog } from "./fake-function.ts";

let loop: EventLoop;
let callFds: number[];

beforeEach(() => {
  loop = new EventLoop();
  callFds = [createEventfd(), createEventfd(), createEventfd(), createEventfd()];
});
afterEach(() => {
  loop.close();
  for (const fd of callFds) closeFd(fd);
});

function interrupts(msixVectors: number) {
  const { fn, calls } = fakeFunction({ msixVectors });
  const { log, lines } = keptLog();
  const seen = { config: 0, relayed: [] as number[] };
  const subject = new Interrupts(
    fn,
    loop,
    log,
    () => seen.config++,
    (queue) => seen.relayed.push(queue),
  );
  /** The eventfd that a vector signals. */
  const fdOf = (vector: number) =>
    Number(calls.findLast((call) => call.startsWith(`vector ${vector} `))?.split(" ")[2]);
  return { subject, calls, lines, seen, fdOf };
}

describe("interrupts", () => {
  test("with enough vectors each queue's goes to the guest's eventfd, signalled once at the start", () => {
    const { subject, calls, fdOf, seen } = interrupts(8);
    subject.enable(4);
    expect(calls[0]).toBe("enable 5");
    for (const [queue, fd] of callFds.entries()) subject.connect(queue, fd);
    expect([1, 2, 3, 4].map(fdOf)).toEqual(callFds);
    expect(callFds.map(drainEventfd)).toEqual([1n, 1n, 1n, 1n]);
    expect([0, 1, 2, 3].some((queue) => subject.isShared(queue))).toBe(false);
    signalEventfd(fdOf(0));
    loop.runOnce(0);
    expect(seen).toEqual({ config: 1, relayed: [] });
    subject.close();
  });

  test("with too few, the last vector is shared and passed on to all who share it", () => {
    const { subject, lines, fdOf, seen } = interrupts(3);
    subject.enable(4);
    expect(lines[0]).toContain("3 MSI-X vectors");
    for (const [queue, fd] of callFds.entries()) subject.connect(queue, fd);
    expect([0, 1, 2, 3].map((queue) => subject.vectorOf(queue))).toEqual([1, 2, 2, 2]);
    expect(fdOf(1)).toBe(callFds[0]!);
    callFds.map(drainEventfd);
    signalEventfd(fdOf(2));
    loop.runOnce(0);
    expect(callFds.map(drainEventfd)).toEqual([0n, 1n, 1n, 1n]);
    expect(seen).toEqual({ config: 0, relayed: [1, 2, 3] });
    subject.disconnect(2);
    signalEventfd(fdOf(2));
    loop.runOnce(0);
    expect(callFds.map(drainEventfd)).toEqual([0n, 1n, 0n, 1n]);
    subject.close();
  });

  test("a single vector serves the configuration and all queues", () => {
    const { subject, fdOf, seen } = interrupts(1);
    subject.enable(4);
    for (const [queue, fd] of callFds.entries()) subject.connect(queue, fd);
    callFds.map(drainEventfd);
    signalEventfd(fdOf(0));
    loop.runOnce(0);
    expect(callFds.map(drainEventfd)).toEqual([1n, 1n, 1n, 1n]);
    expect(seen.config).toBe(1);
    subject.close();
  });

  test("no vector at all is an error that says how many are needed", () => {
    const { subject } = interrupts(0);
    expect(() => subject.enable(4)).toThrow(/no MSI-X vectors and 4 queues/);
    subject.close();
  });

  test("a front-end that polls gets no trigger", () => {
    const { subject, calls } = interrupts(8);
    subject.enable(4);
    subject.connect(0, -1);
    expect(calls.at(-1)).toBe("vector 1 -1");
    subject.close();
    expect(calls.at(-1)).toBe("disable");
  });
});
