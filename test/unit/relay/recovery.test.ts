import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { recoverPacked } from "../../../src/relay/packed-recovery.ts";
import type { Recovery } from "../../../src/relay/recovery.ts";
import { recoverSplit } from "../../../src/relay/split-recovery.ts";
import { Model } from "./model.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

/**
 * The relay stands for the device of direct mode here: what it leaves in the guest's ring is what a device would. Its
 * own base is what recovery has to find from the ring alone.
 */
function run(
  packed: boolean,
  size: number,
  start: number,
  wrap: number,
  ordered: boolean,
  steps: readonly number[],
  single = false,
) {
  const model = new Model({ packed, size, start, wrap, eventIdx: false, indirect: false, sealable: true });
  for (const step of steps) {
    const kind = step % 4;
    if (kind <= 1) {
      for (let i = 0; i < 1 + (step % 5); i++) model.add(single ? 4 * (step + i) : step + i);
      model.driver.publish();
      model.relay.forward();
      model.take(100);
    } else if (kind === 2) {
      for (let i = 0; i < step % 7; i++) model.finish(ordered ? 0 : step + i, step);
      model.publish();
      model.relay.complete();
    } else {
      model.reap();
    }
  }
  const expected = model.relay.base();
  const inFlight = model.relay.outstanding;
  const recovery: Recovery = (packed ? recoverPacked : recoverSplit)(model.stage.memory, model.ring);
  return { model, expected, inFlight, recovery };
}

const steps = fc.array(fc.nat(10_000), { minLength: 1, maxLength: 60, size: "max" });

test("split: what is recovered of a device that completes in order is where it stood", () => {
  fc.assert(
    fc.property(fc.nat(5), fc.nat(65_535), steps, (power, start, all) => {
      const { model, expected, inFlight, recovery } = run(false, 2 ** power, start, 0, true, all);
      expect(recovery).toMatchObject({ kind: "recovered", position: expected, inFlight, verified: true });
      // The relay goes on from it, and nothing is lost or repeated.
      if (recovery.kind === "recovered") model.relay.closeHoles();
      model.restart(true);
      model.settle();
      expect(model.reaped).toEqual(model.deviceOrder);
      expect(model.reaped.length).toBe(model.added);
      model.close();
    }),
    { numRuns: 200 },
  );
});

test("packed: what is recovered is where it stood, or it is said that it can not be known", () => {
  let known = 0;
  let runs = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 24 }), fc.nat(23), fc.nat(1), steps, (size, start, wrap, all) => {
      const { model, expected, recovery } = run(true, size, start % size, wrap, true, all);
      runs++;
      if (recovery.kind === "recovered") {
        known++;
        expect(recovery.position).toEqual(expected);
      }
      model.close();
    }),
    { numRuns: 400 },
  );
  expect(known).toBeGreaterThan(runs / 4);
});

test("packed: where every chain is one descriptor it is known, in a full ring too", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 24 }), fc.nat(23), fc.nat(1), steps, (size, start, wrap, all) => {
      const { model, expected, inFlight } = run(true, size, start % size, wrap, true, all, true);
      const recovery = recoverPacked(model.stage.memory, model.ring, true);
      // A single one with the used one's id may be the rest of that, where nothing before it tells.
      if (recovery.kind === "recovered" || inFlight !== 1)
        expect(recovery).toMatchObject({ kind: "recovered", position: expected, inFlight });
      if (recovery.kind === "recovered" && inFlight === size) expect(recovery.verified).toBe(true);
      model.close();
    }),
    { numRuns: 300 },
  );
  const { model } = run(true, 8, 0, 1, true, [1]);
  model.add(5);
  model.driver.publish();
  expect(recoverPacked(model.stage.memory, model.ring, true).kind).toBe("not-recoverable");
  model.close();
});

test("split: a device that completes out of order is found out", () => {
  // Of four entries the third is completed first.
  const { model, recovery } = run(false, 8, 0, 0, true, []);
  for (let i = 0; i < 4; i++) model.add(4);
  model.driver.publish();
  model.relay.forward();
  model.take(4);
  model.finish(2, 1);
  model.publish();
  model.relay.complete();
  expect(recovery.kind).toBe("recovered");
  const after = recoverSplit(model.stage.memory, model.ring);
  expect(after.kind).toBe("not-recoverable");
  if (after.kind === "not-recoverable") expect(after.reason).toContain("completed out of order");
  // Once the ring has drained the order does not matter.
  model.settle();
  expect(recoverSplit(model.stage.memory, model.ring)).toMatchObject({ kind: "recovered", inFlight: 0 });
  model.close();
});

test("split: indices that can not be are refused", () => {
  const { model } = run(false, 8, 0, 0, true, []);
  model.stage.put(Number(model.ring.driverGpa) + 2, 2, 9);
  expect(recoverSplit(model.stage.memory, model.ring)).toMatchObject({
    kind: "not-recoverable",
    reason: "the available index 9 is 9 ahead of the used index 0 in a ring of 8",
  });
  model.close();
});

test("packed: any bytes give an answer", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.nat(0xffff), { maxLength: 96 }),
      (size, bytes) => {
        const { model } = run(true, size, 0, 1, true, []);
        for (const [i, value] of bytes.entries())
          if (2 * i < 16 * size) model.stage.put(Number(model.ring.descGpa) + 2 * i, 2, value);
        expect(["recovered", "not-recoverable"]).toContain(
          recoverPacked(model.stage.memory, model.ring).kind,
        );
        model.close();
      },
    ),
    { numRuns: 300 },
  );
});
