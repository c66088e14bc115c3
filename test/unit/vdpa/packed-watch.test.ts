import { afterEach, expect, test } from "bun:test";
import { PackedWatch } from "../../../src/vdpa/packed-watch.ts";
import { PackedRingModel } from "./packed-ring-model.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function watched(options: { size?: number; inOrder?: boolean } = {}) {
  const ring = new PackedRingModel(1, options);
  cleanup.push(() => ring.close());
  return { ring, watch: new PackedWatch(ring.memory, ring.vring, ring.traits) };
}

function offerAll(ring: PackedRingModel, ids: number[], length = 1): void {
  for (const id of ids) ring.offer(id, length);
}

const upTo = (end: number) => Array.from({ length: end }, (_, i) => i);

test("enough chains used in order, over several looks, show it", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  expect(watch.look()).toBe(false);
  ring.use(5);
  expect(watch.look()).toBe(false);
  ring.use(3);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("a ring on which nothing happens while chains are available shows nothing", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  for (let i = 0; i < 20; i++) expect(watch.look()).toBe(false);
  expect(watch.base).toBeUndefined();
});

test("what is empty or full leaves no doubt", () => {
  const { ring, watch } = watched({ size: 8 });
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
  offerAll(ring, upTo(8));
  expect(new PackedWatch(ring.memory, ring.vring, ring.traits).look()).toBe(true);
});

test("one chain out of order is enough to not trust the ring while it holds any", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  expect(watch.look()).toBe(false);
  ring.use(1, 1);
  ring.use(1, 0);
  expect(watch.look()).toBe(false);
  expect(watch.broken).toBe(true);
  ring.use(13);
  expect(watch.look()).toBe(false);
});

test("a new chain with the id of the one just used is told from its rest", () => {
  const { ring, watch } = watched();
  for (let i = 0; i < 3; i++) {
    ring.offer(0);
    ring.use();
  }
  ring.offer(0);
  // The rest of a chain of two would look the same.
  expect(watch.look()).toBe(false);
  ring.offer(1);
  expect(watch.look()).toBe(false);
  ring.use(2);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
  ring.offer(1);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("the rest of a used chain is told from a new one", () => {
  const { ring, watch } = watched();
  ring.offer(0, 2);
  ring.use();
  expect(watch.look()).toBe(false);
  ring.offer(1, 3);
  expect(watch.look()).toBe(false);
  ring.use();
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("chains of any length are followed over many laps", () => {
  for (const inOrder of [false, true]) {
    const { ring, watch } = watched({ inOrder });
    offerAll(ring, upTo(6), 3);
    watch.look();
    for (let round = 0; round < 200; round++) {
      ring.use(1 + (round % 4));
      if (watch.look()) expect(watch.base).toBe(ring.base);
      while (ring.held.length < 6) ring.offer((round * 7 + ring.held.length) % 32, 1 + (round % 3));
      watch.look();
    }
    expect(watch.look()).toBe(true);
    expect(watch.base).toBe(ring.base);
  }
});

test("a watch that was outrun begins anew and does not mislead", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(10));
  watch.look();
  ring.use(9);
  expect(watch.look()).toBe(true);
  ring.use();
  // Nobody looked while these came and went.
  offerAll(ring, upTo(3), 2);
  ring.use(3);
  offerAll(ring, [2], 1);
  expect(watch.look()).toBe(false);
  offerAll(ring, [5, 6]);
  watch.look();
  ring.use(3);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});
