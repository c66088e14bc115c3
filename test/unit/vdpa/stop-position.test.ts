import { afterEach, expect, test } from "bun:test";
import type { Ring } from "../../../src/vdpa/ring.ts";
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
    position: () => "what the ring shows",
  } as unknown as Ring;
  return watchBeforeStop([ring], model.memory, model.traits)(ring);
}

for (const index of [0, 1] as const) {
  const type = index === 0 ? "receive" : "transmit";
  test(`a ${type} ring of chains whose device goes on shows where it stops`, () => {
    const model = ringOfChains(index);
    expect(stop(model, () => model.held.length > 0 && model.use(1))).toBe(model.base);
  });
}

test("a receive ring of chains without traffic does not, and is not waited for without end", () => {
  expect(stop(ringOfChains(0), () => {})).toBe("what the ring shows");
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
