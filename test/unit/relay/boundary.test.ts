import { expect, test } from "bun:test";
import { Model } from "./model.ts";

/** Feeds one chain at a time and completes it, until the relay is drained at the boundary. */
function runToBoundary(model: Model, limit: number): number {
  model.relay.limitFeed(true);
  let chains = 0;
  for (; !model.relay.drainedAtBoundary && chains < limit; chains++) {
    model.add(model.options.packed && chains % 3 === 2 ? 1 : 4);
    model.driver.publish();
    model.relay.forward();
    model.take(9);
    while (model.held.length > 0) model.finish(0, 1);
    model.publish();
    model.relay.complete();
    model.reap();
  }
  return chains;
}

test("split: feeding stops at index 0 and goes on in a fresh device", () => {
  const model = new Model({
    packed: false,
    size: 16,
    start: 65_530,
    wrap: 0,
    eventIdx: true,
    indirect: false,
    sealable: true,
  });
  expect(runToBoundary(model, 100)).toBe(6);
  for (let i = 0; i < 3; i++) model.add(4);
  model.driver.publish();
  // New entries wait for the fresh device, and nobody is told to poll for them.
  expect(model.relay.forward()).toBe(0);
  expect(model.relay.setGuestKicks(true)).toBe(false);
  expect(model.relay.closeHoles()).toEqual({ availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 });
  // Changed its mind: the relay goes on.
  model.settle();
  expect(model.reaped.length).toBe(9);
  model.close();
});

test("packed: feeding stops after every second lap", () => {
  for (const [start, wrap] of [
    [3, 1],
    [2, 0],
  ] as const) {
    const model = new Model({
      packed: true,
      size: 5,
      start,
      wrap,
      eventIdx: true,
      indirect: false,
      sealable: true,
    });
    expect(runToBoundary(model, 200)).toBeLessThan(200);
    expect(model.relay.base()).toEqual({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
    model.add(4);
    model.driver.publish();
    expect(model.relay.forward()).toBe(0);
    model.settle();
    expect(model.reaped.length).toBe(model.added);
    model.close();
  }
});

test("closing holes logs the guest's ring, and what the device may have written", () => {
  for (const packed of [false, true]) {
    const model = new Model({
      packed,
      size: 8,
      start: 0,
      wrap: 1,
      eventIdx: false,
      indirect: false,
      sealable: true,
    });
    for (let i = 0; i < 4; i++) model.add(4);
    model.driver.publish();
    model.relay.forward();
    model.take(4);
    model.finish(2, 1);
    model.publish();
    model.relay.complete();
    model.setLogging(true);
    model.finish(0, 900, true);
    model.restart(false);
    const changed = model.stage.changedPages();
    expect(changed.length).toBeGreaterThanOrEqual(2);
    expect(changed.filter((page) => !model.stage.isLogged(page))).toEqual([]);
    model.settle();
    expect(model.reaped).toEqual(model.deviceOrder);
    expect(model.reaped.length).toBe(4);
    model.close();
  }
});

test("the ring goes on where the memory table has changed around it, and stops where it is gone", () => {
  for (const [packed, sealable] of [
    [false, true],
    [true, true],
    [false, false],
    [true, false],
  ] as const) {
    const model = new Model({
      packed,
      size: 8,
      start: 0,
      wrap: 1,
      eventIdx: false,
      indirect: false,
      sealable,
    });
    const [first, second] = model.stage.memory.regions;
    model.add(4);
    model.driver.publish();
    model.stage.memory.remove(second!);
    model.relay.rebind();
    expect(model.relay.fault).toBeUndefined();
    model.relay.forward();
    model.relay.closeHoles();
    model.stage.memory.remove(first!);
    model.relay.rebind();
    expect(model.relay.fault?.message).toContain("no memory region holds this range");
    expect(model.relay.forward()).toBe(0);
    model.relay.closeHoles();
    model.close();
  }
});
