import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { openVfio } from "../../../src/hw/vfio/open.ts";
import { Interrupts, requireInterrupts } from "../../../src/vdpa/interrupts.ts";
import { BDF, FakeKernel } from "../hw/vfio/fake-kernel.ts";
import { silentLog } from "../hw/vfio/silent-log.ts";
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

  test("no vector at all is an error", () => {
    expect(() => requireInterrupts(fakeFunction({ msixVectors: 1 }).fn)).not.toThrow();
    expect(() => requireInterrupts(fakeFunction({ msixVectors: 0 }).fn)).toThrow(/no MSI-X vectors/);
  });

  for (const code of ["ENOSPC", "EINVAL"] as const) {
    test(`an eventfd that the kernel refuses (${code}) changes nothing`, () => {
      const kernel = new FakeKernel();
      const fn = openVfio(BDF, { log: silentLog }, kernel);
      const subject = new Interrupts(
        fn,
        loop,
        silentLog,
        () => {},
        () => {},
      );
      const [good, bad, better] = callFds as [number, number, number, number];
      subject.enable(2);
      subject.connect(0, good);
      drainEventfd(good);
      kernel.irqs.refused.set(bad, code);
      expect(() => subject.connect(0, bad)).toThrow(code);
      expect(kernel.irqs.vectors?.[1]).toBe(good);
      // The kernel let go of it for a moment, and an interrupt may have come just then.
      expect([good, bad].map(drainEventfd)).toEqual([1n, 0n]);
      subject.connect(0, better);
      expect(kernel.irqs.vectors?.[1]).toBe(better);
      subject.close();
      expect(kernel.irqs.vectors).toBeUndefined();
      fn.close();
      expect(kernel.openFds.size).toBe(0);
    });
  }

  test("where the old eventfd is refused too the vector signals nobody, and both refusals are told", () => {
    const kernel = new FakeKernel();
    const fn = openVfio(BDF, { log: silentLog }, kernel);
    const { log, lines } = keptLog();
    const subject = new Interrupts(
      fn,
      loop,
      log,
      () => {},
      () => {},
    );
    const [good, bad] = callFds as [number, number, number, number];
    subject.enable(2);
    subject.connect(0, good);
    kernel.irqs.refused.set(bad, "EINVAL").set(good, "ENOSPC");
    expect(() => subject.connect(0, bad)).toThrow("EINVAL");
    expect(lines).toEqual([expect.stringMatching(/queue 0 is left without an interrupt: .*ENOSPC/)]);
    expect(kernel.irqs.vectors?.[1]).toBe(-1);
    subject.close();
    fn.close();
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
