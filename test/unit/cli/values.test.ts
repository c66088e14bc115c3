import { expect, test } from "bun:test";
import { integer, mask64, octalMode, oneOf, text } from "../../../src/cli/values.ts";

const usage = expect.objectContaining({ kind: "usage" });

test("numbers have limits", () => {
  const parse = integer(1, 256);
  expect([parse("1"), parse("256"), parse("0x10")]).toEqual([1, 256, 16]);
  for (const bad of ["0", "257", "1.5", "1e2", "-1", "", "ten", " 1"])
    expect(() => parse(bad)).toThrow(usage);
});

test("masks have 64 bits", () => {
  expect(mask64("0xffffffffffffffff")).toBe(2n ** 64n - 1n);
  expect(mask64("10")).toBe(10n);
  for (const bad of ["0x10000000000000000", "-1", "0x", "ff"]) expect(() => mask64(bad)).toThrow(usage);
});

test("permissions are octal", () => {
  expect([octalMode("660"), octalMode("0660")]).toEqual([0o660, 0o660]);
  for (const bad of ["0888", "66", "06600", "rw"]) expect(() => octalMode(bad)).toThrow(usage);
});

test("words of a set, with the nearest one", () => {
  const parse = oneOf("auto", "direct", "relay");
  expect(parse("relay")).toBe("relay");
  expect(() => parse("realy")).toThrow(expect.objectContaining({ kind: "usage", remedy: "write relay" }));
});

test("an empty text is none", () => {
  expect(() => text("")).toThrow(usage);
});
