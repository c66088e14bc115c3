import { ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import type { QueueReport } from "../../../src/daemon/state/device-report.ts";
import { StateBoard } from "../../../src/daemon/state/state-board.ts";
import { TrafficSampler } from "../../../src/daemon/state/traffic-sampler.ts";
import { Counters } from "../../../src/vdpa/counters.ts";

/** One split ring in this process's memory, on a board. */
class Stage {
  readonly used = new Uint16Array(new ArrayBuffer(4));
  readonly board = new StateBoard();
  readonly counters = new Counters();
  readonly sampler = new TrafficSampler({
    name: "sim",
    meeting: { role: "fd", fd: 3 },
    board: this.board,
    counters: this.counters,
    since: 0,
  });

  show(over: Partial<QueueReport> = {}): void {
    const hva = ptr(this.used);
    const queue: QueueReport = {
      index: 0,
      type: "rx",
      size: 256,
      enabled: true,
      mode: "direct",
      doorbell: "none",
      vector: 1,
      call: "none",
      started: true,
      start: { id: 1, base: 0 },
      gap_us: null,
      layout: "split",
      ring: { desc_hva: hva, driver_hva: hva, device_hva: hva },
      ...over,
    };
    this.board.beginChange();
    this.board.write(JSON.stringify({ queues: [queue] }));
  }

  /** The device finishes entries, and the ring is looked at. */
  finish(entries: number): number | undefined {
    this.used[1]! += entries;
    this.sampler.keep();
    return this.sampler.of(0)?.entries;
  }
}

test("what happened before it began does not count; the index goes round", () => {
  const stage = new Stage();
  stage.used[1] = 65_000;
  stage.show();
  expect(stage.sampler.of(0)).toBeUndefined();
  expect(stage.finish(0)).toBe(0);
  expect(stage.finish(500)).toBe(500);
  expect(stage.finish(500)).toBe(1000);
  expect(stage.finish(1)).toBe(1001);
});

test("a ring that is started while it is sampled counts from its base", () => {
  const stage = new Stage();
  stage.show();
  expect(stage.finish(100)).toBe(0);
  expect(stage.finish(100)).toBe(100);
  stage.used[1] = 30;
  stage.show({ start: { id: 2, base: 10 } });
  expect(stage.finish(0)).toBe(120);
  // A move between the modes is no start.
  stage.show({ start: { id: 2, base: 10 }, mode: "relay" });
  expect(stage.finish(5)).toBe(125);
});

test("of a relayed ring the relay's own count is taken", () => {
  const stage = new Stage();
  stage.show({ mode: "relay" });
  expect(stage.finish(0)).toBe(0);
  stage.counters.queue(0).add("relay_completed", 200_000);
  expect(stage.finish(200_000 % 65_536)).toBe(200_000);
  expect(stage.sampler.of(0)?.exact).toBe(true);
});

test("positions that were read while the memory changed do not count", () => {
  const stage = new Stage();
  stage.show();
  expect(stage.finish(10)).toBe(0);
  stage.board.beginChange();
  expect(stage.finish(10)).toBe(0);
  stage.show();
  expect(stage.finish(10)).toBe(20);
});

test("where the ring may have gone round between two looks, the count is at least that", () => {
  const stage = new Stage();
  stage.show();
  stage.finish(0);
  expect(stage.finish(10)).toBe(10);
  expect(stage.sampler.of(0)?.exact).toBe(true);
  // Most of a round at once: at that speed a look just a little later would have missed some.
  stage.finish(60_000);
  expect(stage.sampler.of(0)).toEqual({ entries: 60_010, exact: false });
});
