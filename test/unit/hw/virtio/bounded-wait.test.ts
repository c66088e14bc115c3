import { expect, test } from "bun:test";
import { waitUntil } from "../../../../src/hw/virtio/bounded-wait.ts";

test("looks at least once, whatever the limit", () => {
  expect(waitUntil(() => true, 0)).toBe(true);
  expect(waitUntil(() => false, 0)).toBe(false);
});

test("goes on looking after the first polls", () => {
  let polls = 0;
  expect(waitUntil(() => ++polls === 20, 60_000)).toBe(true);
  expect(polls).toBe(20);
});
