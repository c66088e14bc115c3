import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { sourceTexts, VARIES } from "./support/source-texts.ts";

const page = readFileSync(new URL("../../../docs/troubleshooting.md", import.meta.url), "utf8");
const quoted = [...page.matchAll(/^### `(.*)`$/gm)].map(([, text]) => text!);
const texts = sourceTexts();
const isPrinted = (text: string) => texts.some((source) => source.includes(text));

test("the page quotes many errors", () => expect(quoted.length).toBeGreaterThan(40));

test.each(quoted)("%s is what the program says", (text) => {
  expect(isPrinted(text)).toBe(true);
});

test("what the program does not say is not found", () => {
  expect(isPrinted("the moon is full")).toBe(false);
  expect(isPrinted(`no PCI device ${VARIES} here`)).toBe(false);
});
