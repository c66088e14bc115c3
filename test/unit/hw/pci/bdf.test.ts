import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseBdf } from "../../../../src/hw/pci/bdf.ts";

test.each([
  ["0000:00:04.0", "0000:00:04.0"],
  ["00:04.0", "0000:00:04.0"],
  ["0:4.0", "0000:00:04.0"],
  ["AB:1F.7", "0000:ab:1f.7"],
  ["10000:E1:00.0", "10000:e1:00.0"],
  [" 00:04.0 ", "0000:00:04.0"],
])("%p is %p", (text, canonical) => {
  expect(parseBdf(text)).toBe(canonical);
});

test.each([
  "",
  "eth0",
  "00:04",
  "00:20.0",
  "00:04.8",
  "00:04.0.0",
  "0000:00:04.0/../..",
  "g0:04.0",
  "0000::04.0",
])("%p is refused", (text) => {
  expect(() => parseBdf(text)).toThrow(expect.objectContaining({ kind: "usage", name: "OperatorError" }));
});

test("the canonical form is its own canonical form", () => {
  const part = (max: number) => fc.integer({ min: 0, max });
  fc.assert(
    fc.property(part(0xffff), part(0xff), part(0x1f), part(7), (domain, bus, device, fn) => {
      const canonical = parseBdf([domain, bus, device].map((n) => n.toString(16)).join(":") + `.${fn}`);
      expect(canonical).toMatch(/^[\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.[0-7]$/);
      expect(parseBdf(canonical)).toBe(canonical);
    }),
  );
});
