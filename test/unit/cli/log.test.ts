import { expect, test } from "bun:test";
import { fstatSync } from "node:fs";
import { createLog, type LogSettings } from "../../../src/cli/log.ts";
import { isJournal } from "../../../src/cli/terminal.ts";

const collect = (settings: Partial<LogSettings>) => {
  const lines: string[] = [];
  const log = createLog({ level: "verbose", color: false, journald: false, ...settings }, (line) =>
    lines.push(line),
  );
  log.debug("d");
  log.info("i");
  log.warn("w\nx");
  log.error("e");
  return lines;
};

test("plain lines", () => {
  expect(collect({})).toEqual(["debug: d\n", "i\n", "warning: w; x\n", "error: e\n"]);
});

test("priorities for the journal instead of words and colours", () => {
  expect(collect({ journald: true, color: true })).toEqual(["<7>d\n", "<6>i\n", "<4>w; x\n", "<3>e\n"]);
});

test("what the lines are about stands in front of their text", () => {
  expect(collect({ subject: "sim0" })).toEqual([
    "debug: sim0: d\n",
    "sim0: i\n",
    "warning: sim0: w; x\n",
    "error: sim0: e\n",
  ]);
  expect(collect({ subject: "sim0", journald: true })[2]).toBe("<4>sim0: w; x\n");
});

test.each([
  ["quiet", 2],
  ["normal", 3],
  ["verbose", 4],
] as const)("%p writes %p of 4 lines", (level, count) => {
  expect(collect({ level })).toHaveLength(count);
});

test("the same line as often as it is said", () => {
  const lines: string[] = [];
  const log = createLog({ level: "normal", color: false, journald: false }, (line) => lines.push(line));
  for (let i = 0; i < 50; i++) log.info("again");
  expect(lines).toHaveLength(50);
});

test("a worker that never returns to its event loop is heard", async () => {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/blocking-worker.ts`], { stderr: "pipe" });
  try {
    let text = "";
    for await (const chunk of child.stderr) {
      text += new TextDecoder().decode(chunk);
      if (text.endsWith("line 19\n")) break;
    }
    expect(text).toBe(Array.from({ length: 20 }, (_, i) => `warning: line ${i}\n`).join(""));
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("the journal is told by device and inode, not by the variable alone", () => {
  const { dev, ino } = fstatSync(2, { bigint: true });
  expect(isJournal(2, { JOURNAL_STREAM: `${dev}:${ino}` })).toBe(true);
  expect(isJournal(2, { JOURNAL_STREAM: `${dev}:${ino + 1n}` })).toBe(false);
  expect(isJournal(2, { JOURNAL_STREAM: "x" })).toBe(false);
  expect(isJournal(2, {})).toBe(false);
});
