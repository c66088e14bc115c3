import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, nearest } from "../../../src/cli/nearest.ts";

test.each([
  ["dryrun", "dry-run"],
  ["drvier", "driver"],
  ["forec", "force"],
  ["unbnid", "unbind"],
  ["owners", "owner"],
  ["zzz", undefined],
])("%p is near %p", (word, expected) => {
  expect(nearest(word, ["dry-run", "driver", "force", "unbind", "owner"])).toBe(expected as string);
});

test("the distance is symmetric, 0 for equal words and at most the longer word", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      expect(editDistance(a, a)).toBe(0);
      expect(editDistance(a, b)).toBe(editDistance(b, a));
      expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});

test("swapped neighbours are one edit", () => {
  expect(editDistance("probe", "porbe")).toBe(1);
});
