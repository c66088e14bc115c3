import { afterEach, expect, test } from "bun:test";
import { OrderWatch } from "../../../src/vdpa/order-watch.ts";
import { packedReceiveRing } from "./packed-receive-ring.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function ringOf(available: number) {
  const { use, memory, vring, traits, close } = packedReceiveRing(available);
  cleanup.push(close);
  return { use, watch: new OrderWatch(memory, vring, traits) };
}

test("enough buffers used in order, over several looks, show it", () => {
  const { use, watch } = ringOf(20);
  expect(watch.look()).toBe(false);
  for (let i = 0; i < 5; i++) use(i, i);
  expect(watch.look()).toBe(false);
  for (let i = 5; i < 8; i++) use(i, i);
  expect(watch.look()).toBe(true);
  expect(watch.look()).toBe(true);
});

test("a ring on which nothing happens shows nothing", () => {
  const { watch } = ringOf(20);
  for (let i = 0; i < 20; i++) expect(watch.look()).toBe(false);
});

test("one buffer out of order is enough to never trust the ring", () => {
  const { use, watch } = ringOf(20);
  expect(watch.look()).toBe(false);
  use(0, 1);
  use(1, 0);
  expect(watch.look()).toBe(false);
  for (let i = 2; i < 15; i++) use(i, i);
  expect(watch.look()).toBe(false);
});
