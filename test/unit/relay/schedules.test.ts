import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { Model, type ModelOptions } from "./model.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

const step = fc.tuple(fc.nat(17), fc.nat(1000), fc.nat(100_000));
type Step = [what: number, a: number, b: number];

function act(model: Model, [what, a, b]: Step): void {
  switch (what) {
    case 0:
    case 1:
      for (let i = 0; i <= a % 6; i++) model.add(b + 17 * i);
      if (what === 1) model.driver.publish();
      return;
    case 2:
    case 3:
      model.relay.forward();
      model.relay.kickWanted();
      return;
    case 4:
      model.take(a % 10);
      return;
    case 5:
      for (let i = 0; i <= a % 4; i++) model.finish(b + i, a * 7 + b);
      return;
    case 6:
      model.publish();
      return;
    case 7:
    case 8:
      model.relay.complete();
      model.relay.callWanted();
      if (what === 8) model.reap();
      return;
    case 9:
      model.finish(b, a * 3, true);
      return;
    case 10:
      model.restart(a % 2 === 0);
      return;
    case 11:
      if (a % 2) model.relay.setGuestKicks(b % 2 === 0);
      else model.relay.setDeviceCalls(b % 2 === 0);
      return;
    case 12:
      if (a % 2) model.driver.arm();
      else model.driver.disarm();
      if (b % 2) model.device.disableKicks();
      else model.device.enableKicks();
      return;
    case 14:
    case 15:
    case 16:
      // Much in the device, some of it completed out of order.
      for (let i = 0; i < 12; i++) model.add(b + 13 * i);
      model.driver.publish();
      model.relay.forward();
      model.take(20);
      for (let i = 0; i < a % 8; i++) model.finish(b + 5 * i, a * 7 + b);
      model.publish();
      return;
    case 17:
      for (let i = 0; i < a % 8; i++) model.finish(b + 5 * i + 1, a * 7 + b);
      model.publish();
      model.restart(b % 2 === 0);
      model.reap();
      return;
    case 13:
      if (a % 3 === 0) model.setLogging(b % 4 !== 0);
      else model.relay.limitFeed(a % 3 === 1);
      if (model.relay.drainedAtBoundary) {
        const wrap = model.options.packed ? 1 : 0;
        expect(model.relay.base()).toEqual({
          availPosition: 0,
          availWrap: wrap,
          usedPosition: 0,
          usedWrap: wrap,
        });
      }
  }
}

function runSchedule(options: ModelOptions, steps: readonly Step[]): void {
  const model = new Model(options);
  try {
    model.setLogging(true);
    for (const each of steps) {
      act(model, each);
      if (model.relay.fault) throw model.relay.fault;
    }
    model.settle();
    expect(model.reaped).toEqual(model.deviceOrder);
    expect(model.reaped.map((entry) => Number(entry.split(":")[0])).sort((a, b) => a - b)).toEqual(
      Array.from({ length: model.added }, (_, i) => i),
    );
    expect(model.stage.log.failures).toBe(0);
    if (model.logging) {
      const missed = model.stage.changedPages().filter((page) => !model.stage.isLogged(page));
      expect(missed).toEqual([]);
      const allowed = model.allowedPages();
      expect(model.stage.loggedPages().filter((page) => !allowed.has(page))).toEqual([]);
    }
  } finally {
    model.close();
  }
}

const common = {
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  sealable: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
};
const steps = fc.array(step, { minLength: 1, maxLength: 300, size: "max" });

/** Positions near both ends of the index are where mistakes show. */
const index = fc.oneof(fc.constant(0), fc.integer({ min: 65_500, max: 65_535 }), fc.nat(65_535));

test("split: every chain completes once, in the device's order, and every page it writes is logged", () => {
  const options = fc.record({
    ...common,
    packed: fc.constant(false),
    size: fc.integer({ min: 0, max: 6 }).map((n) => 2 ** n),
    start: index,
    wrap: fc.constant(0),
  });
  fc.assert(fc.property(options, steps, runSchedule), { numRuns: 120 });
});

test("packed: the same, at any size, position and wrap counter", () => {
  const options = fc
    .record({
      ...common,
      packed: fc.constant(true),
      size: fc.integer({ min: 1, max: 50 }),
      start: fc.nat(49),
      wrap: fc.nat(1),
    })
    .map((o) => ({ ...o, start: o.start % o.size }));
  fc.assert(fc.property(options, steps, runSchedule), { numRuns: 120 });
});

test("the largest rings", () => {
  const largest = fc.record({
    packed: fc.boolean(),
    eventIdx: fc.boolean(),
    indirect: fc.constant(false),
    sealable: fc.boolean(),
    size: fc.constant(32768),
    start: fc.integer({ min: 32_700, max: 32_767 }),
    wrap: fc.nat(1),
  });
  fc.assert(fc.property(largest, steps, runSchedule), { numRuns: 6 });
});
