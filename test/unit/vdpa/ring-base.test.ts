import { describe, expect, test } from "bun:test";
import { describeBase, isFreshBase, packedBase, packedBaseOf } from "../../../src/vdpa/ring-base.ts";

const AVAIL = 1 << 7;
const USED = 1 << 15;

/** A descriptor ring with these flags; the other fields look used. */
function ringOf(flags: readonly number[]): Uint8Array {
  const ring = new Uint8Array(16 * flags.length);
  const view = new DataView(ring.buffer);
  for (const [i, value] of flags.entries()) {
    view.setUint16(i * 16 + 12, i, true);
    view.setUint16(i * 16 + 14, value, true);
  }
  return ring;
}

describe("fresh bases", () => {
  test("a split ring starts at index 0 only", () => {
    expect(isFreshBase(false, 0)).toBe(true);
    expect(isFreshBase(false, 1)).toBe(false);
    expect(isFreshBase(false, 0x8000)).toBe(false);
  });

  test("a packed ring starts at position 0 with both wrap counters 1, in either encoding", () => {
    expect(isFreshBase(true, 0x80008000)).toBe(true);
    expect(isFreshBase(true, 0x8000)).toBe(true);
    expect(isFreshBase(true, 0)).toBe(false);
    expect(isFreshBase(true, 0x8001)).toBe(false);
    expect(isFreshBase(true, 0x80018000)).toBe(false);
    expect(isFreshBase(true, 0x00018000)).toBe(false);
  });

  test("messages name the position", () => {
    expect(describeBase(false, 7)).toBe("available index 7");
    expect(describeBase(true, 0x80058003)).toBe("position 3 with wrap counter 1");
  });
});

describe("the position that a packed ring shows", () => {
  test("untouched: the beginning of the first lap", () => {
    expect(packedBaseOf(new Uint8Array(64))).toBe(packedBase(0, true));
  });

  test("made available but not used: the beginning of that lap", () => {
    expect(packedBaseOf(ringOf([AVAIL, AVAIL, 0, 0]))).toBe(packedBase(0, true));
    expect(packedBaseOf(ringOf([USED, USED, AVAIL | USED, AVAIL | USED]))).toBe(packedBase(0, false));
  });

  test("behind the last used entry of the lap", () => {
    const used = AVAIL | USED;
    expect(packedBaseOf(ringOf([used, AVAIL, 0, 0]))).toBe(packedBase(1, true));
    expect(packedBaseOf(ringOf([used, used, used, AVAIL]))).toBe(packedBase(3, true));
    expect(packedBaseOf(ringOf([0, 0, used, used]))).toBe(packedBase(2, false));
  });

  test("all of the ring made available again: where its laps meet", () => {
    expect(packedBaseOf(ringOf([AVAIL, AVAIL, AVAIL, USED]))).toBe(packedBase(3, false));
    expect(packedBaseOf(ringOf([USED, AVAIL, AVAIL, AVAIL]))).toBe(packedBase(1, true));
    // Of the lap before, one entry is used and one is not.
    expect(packedBaseOf(ringOf([AVAIL, 0, USED, USED]))).toBe(packedBase(2, false));
  });

  test("a whole lap used: the beginning of the next", () => {
    const used = AVAIL | USED;
    expect(packedBaseOf(ringOf([used, used]))).toBe(packedBase(0, false));
    expect(packedBaseOf(ringOf([0, 0]))).toBe(packedBase(0, true));
  });
});
