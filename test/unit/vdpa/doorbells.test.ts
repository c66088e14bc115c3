import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { Doorbells } from "../../../src/vdpa/doorbells.ts";
import { fakeFunction, keptLog } from "./fake-function.ts";

const doorbell = { region: 4, offset: 12, width: 2, value: 3 } as const;
let loop: EventLoop;
let kickFd: number;

beforeEach(() => {
  loop = new EventLoop();
  kickFd = createEventfd();
});
afterEach(() => {
  loop.close();
  closeFd(kickFd);
});

function doorbells(policy: "auto" | "relay", refuseIoeventfd = false) {
  const { fn, calls } = fakeFunction({ refuseIoeventfd });
  const { log, lines } = keptLog();
  let relayed = 0;
  const subject = new Doorbells(fn, loop, log, policy, () => relayed++);
  return { subject, calls, lines, relayed: () => relayed };
}

describe("doorbells", () => {
  test("the kernel rings where it can, and each connection rings once", () => {
    const { subject, calls } = doorbells("auto");
    subject.connect(3, doorbell, kickFd);
    expect(subject.kind(3)).toBe("ioeventfd");
    expect(calls).toEqual([`bind 12 ${kickFd}`, "write 12/2 3"]);
    subject.disconnect(3);
    expect(calls.at(-1)).toBe("unbind 12");
    expect(subject.kind(3)).toBe("none");
  });

  for (const [why, policy, refuse] of [
    ["the operator wants it", "relay", false],
    ["the kernel refuses", "auto", true],
  ] as const) {
    test(`kicks are relayed where ${why}`, () => {
      const { subject, calls, relayed, lines } = doorbells(policy, refuse);
      subject.connect(3, doorbell, kickFd);
      expect(subject.kind(3)).toBe("relay");
      expect(lines.length).toBe(refuse ? 1 : 0);
      calls.length = 0;
      for (let i = 1; i <= 3; i++) {
        signalEventfd(kickFd);
        expect(loop.runOnce(0)).toBe(1);
        expect(relayed()).toBe(i);
      }
      expect(calls).toEqual(Array(3).fill("write 12/2 3"));
      expect(loop.runOnce(0)).toBe(0);
      subject.disconnect(3);
      signalEventfd(kickFd);
      expect(loop.runOnce(0)).toBe(0);
    });
  }

  test("a replaced eventfd is no longer heard", () => {
    const { subject, relayed } = doorbells("relay");
    const other = createEventfd();
    subject.connect(3, doorbell, kickFd);
    subject.connect(3, doorbell, other);
    signalEventfd(kickFd);
    expect(loop.runOnce(0)).toBe(0);
    signalEventfd(other);
    expect(loop.runOnce(0)).toBe(1);
    expect(relayed()).toBe(1);
    subject.disconnectAll();
    closeFd(other);
  });

  test("a queue without an eventfd is rung once and has no doorbell", () => {
    const { subject, calls } = doorbells("auto");
    subject.connect(3, doorbell, -1);
    expect(calls).toEqual(["write 12/2 3"]);
    expect(subject.kind(3)).toBe("none");
  });

  test("a page given to the guest stays with it when its eventfd is replaced", () => {
    const { subject } = doorbells("auto");
    subject.connect(3, doorbell, kickFd);
    subject.setHostNotifier(3, true);
    subject.disconnect(3);
    expect(subject.kind(3)).toBe("none");
    subject.connect(3, doorbell, kickFd);
    expect(subject.kind(3)).toBe("host-notifier");
  });

  test("a page given to the guest shows, until it comes back", () => {
    const { subject } = doorbells("auto");
    subject.connect(3, doorbell, kickFd);
    subject.setHostNotifier(3, true);
    expect(subject.kind(3)).toBe("host-notifier");
    subject.setHostNotifier(3, false);
    expect(subject.kind(3)).toBe("ioeventfd");
  });
});
