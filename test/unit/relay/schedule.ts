import { expect } from "bun:test";
import fc from "fast-check";
import type { Model } from "./model.ts";

export const step = fc.tuple(fc.nat(17), fc.nat(1000), fc.nat(100_000));
export const steps = fc.array(step, { minLength: 1, maxLength: 300, size: "max" });

/** What is done, and two numbers that say how. */
export type Step = [what: number, a: number, b: number];

/** Carries out one step: somebody does something, and nobody waits for anybody. */
export function act(model: Model, [what, a, b]: Step): void {
  switch (what) {
    case 0:
    case 1:
      for (let i = 0; i <= a % 6; i++) model.add(b + 17 * i);
      if (what === 1) model.driver.publish();
      return;
    case 2:
    case 3:
      model.forward();
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
      model.complete();
      if (what === 8) model.reap();
      return;
    case 9:
      model.finish(b, a * 3, true);
      return;
    case 10:
      model.restart(a % 2 === 0);
      return;
    case 11:
      model.notify(a % 2 ? "guest" : "device", b % 2 === 0);
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
      model.forward();
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
