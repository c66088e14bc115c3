import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { act, type Step, step } from "../relay/schedule.ts";
import { SwitchingModel, type SwitchingOptions } from "./switching-model.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

/** Between two of the ordinary steps: nothing, a move to the device or one to the relay. */
const moves = fc.array(fc.tuple(step, fc.constantFrom("none", "none", "direct", "relay"), fc.nat(60)), {
  minLength: 1,
  maxLength: 200,
  size: "max",
});
type Move = [step: Step, to: string, chains: number];

/** Traffic until the ring is where the device can take it, if that is not too far. */
function leadToBoundary(model: SwitchingModel, chains: number): void {
  model.relay.limitFeed(true);
  for (let i = 0; i <= chains && !model.relay.drainedAtBoundary; i++) {
    model.add(4 + 3 * i);
    model.driver.publish();
    model.forward();
    model.take(1000);
    while (model.held.length > 0) model.finish(i, i);
    model.publish();
    model.complete();
    model.reap();
  }
}

function run(options: SwitchingOptions, moves: readonly Move[], total: SwitchingModel["switches"]): void {
  const model = new SwitchingModel(options);
  try {
    for (const [each, to, chains] of moves) {
      if (to === "direct" && !model.direct) {
        leadToBoundary(model, chains);
        model.goDirect();
      }
      if (to === "relay") model.goRelay(chains % 5);
      act(model, each);
      model.look();
      if (model.relay.fault) throw model.relay.fault;
    }
    model.settle();
    expect(model.reaped).toEqual(model.deviceOrder);
    expect(model.reaped.map((entry) => Number(entry.split(":")[0])).sort((a, b) => a - b)).toEqual(
      Array.from({ length: model.added }, (_, i) => i),
    );
    expect(model.stage.log.failures).toBe(0);
    if (model.logging)
      expect(model.stage.changedPages().filter((page) => !model.stage.isLogged(page))).toEqual([]);
    for (const key of ["direct", "relay", "refused"] as const) total[key] += model.switches[key];
  } finally {
    model.close();
  }
}

const common = {
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  ordered: fc.boolean(),
  sealable: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
};

for (const packed of [false, true]) {
  const layout = packed
    ? fc.record({
        ...common,
        packed: fc.constant(true),
        size: fc.integer({ min: 1, max: 20 }),
        start: fc.constant(0),
        wrap: fc.nat(1),
      })
    : fc.record({
        ...common,
        packed: fc.constant(false),
        size: fc.integer({ min: 0, max: 5 }).map((n) => 2 ** n),
        start: fc.oneof(fc.constant(0), fc.integer({ min: 65_400, max: 65_535 })),
        wrap: fc.constant(0),
      });

  test(`${packed ? "packed" : "split"}: moved between device and relay at any point, every chain completes once`, () => {
    const total = { direct: 0, relay: 0, refused: 0 };
    fc.assert(
      fc.property(layout, moves, (options, all) => run(options, all, total)),
      { numRuns: 150 },
    );
    // Neither must nothing be moved, nor must nothing ever be refused.
    expect(total.direct).toBeGreaterThan(50);
    expect(total.relay).toBeGreaterThan(50);
    expect(total.refused).toBeGreaterThan(0);
  });
}
