import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { Model, type ModelOptions } from "./model.ts";
import { act, type Step, steps } from "./schedule.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

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
/** Every size, but mostly those in which rings go round quickly. */
const powers = fc.oneof(
  { weight: 9, arbitrary: fc.nat(6) },
  { weight: 1, arbitrary: fc.integer({ min: 7, max: 15 }) },
);
const sizes = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 50 }) },
  { weight: 1, arbitrary: fc.integer({ min: 51, max: 32_768 }) },
);
/** Positions near both ends of the index are where mistakes show. */
const index = fc.oneof(fc.constant(0), fc.integer({ min: 65_500, max: 65_535 }), fc.nat(65_535));

test("split: every chain completes once, in the device's order, and every page it writes is logged", () => {
  const options = fc.record({
    ...common,
    packed: fc.constant(false),
    size: powers.map((n) => 2 ** n),
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
      size: sizes,
      start: fc.oneof(fc.nat(49), fc.nat(32_767)),
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
