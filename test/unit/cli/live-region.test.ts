import { expect, test } from "bun:test";
import { LiveRegion } from "../../../src/cli/live-region.ts";
import { Output } from "../../../src/cli/output.ts";

/** What a terminal shows after it was written to: the cursor goes up, lines are erased. */
function screen(written: string): string[] {
  const lines: string[] = [""];
  let row = 0;
  for (const [token] of written.replaceAll("\x1b[", "⎋").matchAll(/⎋(\d*)([A-Z])|\n|[^⎋\n]+/g)) {
    const [, n, command] = /^⎋(\d*)([A-Z])$/.exec(token) ?? [];
    if (command === "A") row -= Number(n);
    else if (command === "K") lines[row] = "";
    else if (command === "J") lines.length = row + 1;
    else if (token === "\n") {
      row++;
      lines[row] ??= "";
    } else lines[row] += token;
  }
  return lines.slice(0, -1);
}

function stage(width: number, height: number) {
  let written = "";
  const output = new Output({ format: "text", color: true, terminal: true }, (text) => {
    written += text;
  });
  const live = new LiveRegion(output, () => ({ width, height }));
  return { live, output, shown: () => screen(written) };
}

test("each text takes the place of the one before, shorter or longer", () => {
  const { live, shown } = stage(80, 24);
  live.show("a\nb\nc\n");
  expect(shown()).toEqual(["a", "b", "c"]);
  live.show("d");
  expect(shown()).toEqual(["d"]);
  live.show("e\nf");
  expect(shown()).toEqual(["e", "f"]);
  live.end();
  live.show("g");
  expect(shown()).toEqual(["e", "f", "g"]);
});

test("nothing is wider or higher than the terminal", () => {
  const { live, output, shown } = stage(10, 5);
  live.show(`${output.paint("bold", "0123456789abc")}\n日本語日本語\n1\n2\n3`);
  const lines = shown();
  expect(lines).toEqual(["012345678…", "日本語日…", "1", "… 2 more …"]);
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(10);
});
