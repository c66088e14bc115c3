import { expect, test } from "bun:test";
import { basePositionProblem, completeBase, freshBase } from "../../../src/vhost-user/vring-base.ts";

test("half a packed base, as DPDK sends it, is completed", () => {
  expect(completeBase(0x8000, true)).toBe(0x80008000);
  expect(completeBase(0x8005, true)).toBe(0x80058005);
  expect(completeBase(freshBase(true), true)).toBe(0x80008000);
  // Both wrap counters 0: position 0 of the used half is a real one.
  expect(completeBase(0x0005, true)).toBe(0x0005);
  expect(completeBase(0x8000, false)).toBe(0x8000);
});

test.each([
  [0x80008000, undefined],
  [0x8000_80ff, undefined],
  [0x80ff_80ff, undefined],
  // Available one lap ahead of used: 255 to 3 are 4 entries of 256.
  [0x80ff_0003, undefined],
  [0x8003_0003, undefined],
  [0x80008100, "position 256 is beyond a packed ring of 256 entries"],
  [0x8100_8000, "position 256 is beyond a packed ring of 256 entries"],
  [0x8005_8003, "available position 3 and used position 5 are more than 256 entries apart"],
  [0x8003_0005, "available position 5 and used position 3 are more than 256 entries apart"],
])("packed base %d of 256 entries", (base, problem) => {
  expect(basePositionProblem(base, true, 256)).toBe(problem);
});

test("a split base has 16 bits", () => {
  expect(basePositionProblem(0xffff, false, 256)).toBeUndefined();
  expect(basePositionProblem(0x10000, false, 256)).toBe("the available index 65536 has more than 16 bits");
});
