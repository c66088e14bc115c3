import { expect, test } from "bun:test";
import { columns } from "../../../src/cli/columns.ts";
import { Output } from "../../../src/cli/output.ts";
import { oneLine } from "../../../src/cli/terminal.ts";

const outputTo = (lines: string[], terminal: boolean, format: "text" | "json" = "text") =>
  new Output({ format, color: terminal, terminal }, (text) => lines.push(text));

test("columns are padded but for the last one", () => {
  expect(
    columns([
      ["a", "bb", "c"],
      ["aaa", "", "cc"],
    ]),
  ).toBe("a    bb  c\naaa  -   cc\n");
});

test("colours and wide characters do not move columns", () => {
  expect(
    columns([
      ["\x1b[31ma\x1b[39m", "x"],
      ["漢字", "x"],
    ]),
  ).toBe("\x1b[31ma\x1b[39m     x\n漢字  x\n");
});

test("headers are for terminals", () => {
  const rows = [["1", "2"]];
  expect(outputTo([], false).columns(["A", "B"], rows)).toBe("1  2\n");
  expect(Bun.stripANSI(outputTo([], true).columns(["A", "B"], rows))).toBe("A  B\n1  2\n");
});

test("text is not made for JSON, and an empty text prints nothing", () => {
  const lines: string[] = [];
  outputTo(lines, false, "json").print([1], () => {
    throw new Error("rendered");
  });
  outputTo(lines, false).print([], () => "");
  expect(lines).toEqual(["[1]\n"]);
});

test("foreign text stays on its line and moves no cursor", () => {
  expect(oneLine("a\r\n b\n\x1b[2Jc\t\x9bd")).toBe("a; b;  [2Jc d");
});
