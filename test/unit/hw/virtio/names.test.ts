import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { featureNames } from "../../../../src/hw/virtio/feature-names.ts";
import { statusNames } from "../../../../src/hw/virtio/status.ts";

describe("featureNames", () => {
  test("names by device type", () => {
    const bits = (1n << 0n) | (1n << 12n) | (1n << 22n) | (1n << 29n) | (1n << 34n) | (1n << 63n);
    expect(featureNames(1, bits)).toEqual([
      "CSUM",
      "HOST_TSO6",
      "MQ",
      "EVENT_IDX",
      "RING_PACKED",
      "SPEED_DUPLEX",
    ]);
    expect(featureNames(2, bits)).toEqual(["BARRIER", "MQ", "bit_22", "EVENT_IDX", "RING_PACKED", "bit_63"]);
    expect(featureNames(26, 1n)).toEqual(["bit_0"]);
  });

  test("gives one name for each bit set, and none twice", () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (type, bits) => {
        const names = featureNames(type, bits);
        expect(names.length).toBe(bits.toString(2).replaceAll("0", "").length);
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });
});

test("statusNames", () => {
  expect(statusNames(15)).toEqual(["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"]);
  expect(statusNames(0xe0)).toEqual(["bit_5", "NEEDS_RESET", "FAILED"]);
  expect(statusNames(0)).toEqual([]);
});
