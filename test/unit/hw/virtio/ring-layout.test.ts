import { expect, test } from "bun:test";
import fc from "fast-check";
import { packedRingLayout, splitRingLayout } from "../../../../src/hw/virtio/ring-layout.ts";

test("the parts of a split ring are aligned and do not meet", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 15 }), fc.constantFrom(4, 4096), (order, align) => {
      const entries = 2 ** order;
      const { desc, driver, device, size } = splitRingLayout(entries, align);
      expect([desc, driver % 2, device % align]).toEqual([0, 0, 0]);
      expect(driver).toBe(16 * entries);
      // Flags, index, entries and event field of each ring.
      expect(device).toBeGreaterThanOrEqual(driver + 6 + 2 * entries);
      expect(size).toBe(device + 6 + 8 * entries);
    }),
  );
});

test("the legacy ring of 256 entries is the well-known one", () => {
  expect(splitRingLayout(256, 4096)).toEqual({ desc: 0, driver: 4096, device: 8192, size: 10246 });
});

test("the event areas of a packed ring are 4 bytes each and aligned", () => {
  expect(packedRingLayout(3)).toEqual({ desc: 0, driver: 48, device: 52, size: 56 });
});
