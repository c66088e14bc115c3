import { afterEach, expect, test } from "bun:test";
import { recover } from "../../../src/vdpa/direct-position.ts";
import type { Ring } from "../../../src/vdpa/ring.ts";
import { baseOf } from "../../../src/vdpa/ring-base.ts";
import { watchBeforeStop } from "../../../src/vdpa/stop-position.ts";
import { PackedRingModel } from "./packed-ring-model.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

/** A packed ring of chains of three, as a receive ring without MRG_RXBUF and INDIRECT_DESC has them. */
function ringOfChains(index: 0 | 1): PackedRingModel {
  const model = new PackedRingModel(index);
  cleanup.push(() => model.close());
  for (let i = 0; i < 10; i++) model.offer(i, 3);
  model.use(2);
  return model;
}

/** Stops a direct ring to which `onKick` happens when it is kicked; its base. */
function stop(model: PackedRingModel, onKick: () => void): unknown {
  const ring = {
    index: model.vring.index,
    mode: "direct",
    config: model.vring,
    kick: onKick,
    position: () => {
      const found = recover(model.memory, model.vring, model.traits);
      return found.kind === "recovered" ? baseOf(true, found.position) : "what the ring shows";
    },
  } as unknown as Ring;
  return watchBeforeStop([ring], model.memory, model.traits)(ring);
}

test("a transmit ring of chains whose device goes on shows where it stops", () => {
  const model = ringOfChains(1);
  expect(stop(model, () => model.held.length > 0 && model.use(1))).toBe(model.base);
});

test("a receive ring of chains shows it without traffic, as drivers make its chains alike", () => {
  const model = ringOfChains(0);
  expect(stop(model, () => {})).toBe(model.base);
});

test("a transmit ring of chains whose device stands still is not waited for without end", () => {
  const model = ringOfChains(1);
  // What was used last may have been a chain of one.
  model.use();
  model.offer(2, 2);
  expect(stop(model, () => {})).toBe("what the ring shows");
});

test("a device that is gone has no doorbell: it is not waited for", () => {
  const model = ringOfChains(1);
  let kicks = 0;
  const gone = () => {
    kicks++;
    throw new Error("the doorbell lies outside");
  };
  expect(stop(model, gone)).toBe("what the ring shows");
  expect(kicks).toBe(1);
});
