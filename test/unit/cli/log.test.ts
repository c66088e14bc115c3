import { expect, test } from "bun:test";
import { fstatSync } from "node:fs";
import {
  changeable,
  changeLevel,
  createLog,
  type LogSettings,
  type Verbosity,
} from "../../../src/cli/log.ts";
import { isJournal } from "../../../src/cli/terminal.ts";

const VERBOSE: LogSettings = { level: "verbose", format: "text", color: false, journald: false };
const collect = (settings: Partial<LogSettings>) => {
  const lines: string[] = [];
  const log = createLog({ ...VERBOSE, ...settings }, (line) => lines.push(line));
  log.debug("d", { event: "vfio_opened", path: "/dev/vfio/1" });
  log.info("i", { event: "front_end_connected" });
  log.warn("w\nx", { event: "doorbell_relayed", queue: 3, error: "w\nx" });
  log.error("e", { event: "device_failed", device: "0000:00:05.0", error: "e" });
  return lines;
};
const parsed = (settings: Partial<LogSettings>) =>
  collect({ format: "json", ...settings }).map((line) => JSON.parse(line) as Record<string, unknown>);

test("plain lines", () => {
  expect(collect({})).toEqual(["debug: d\n", "i\n", "warning: w; x\n", "error: e\n"]);
});

test("priorities for the journal instead of words and colours", () => {
  expect(collect({ journald: true, color: true })).toEqual(["<7>d\n", "<6>i\n", "<4>w; x\n", "<3>e\n"]);
});

test("what the lines are about stands in front of their text", () => {
  expect(collect({ device: { name: "sim0", inText: true } })).toEqual([
    "debug: sim0: d\n",
    "sim0: i\n",
    "warning: sim0: w; x\n",
    "error: sim0: e\n",
  ]);
  expect(collect({ device: { name: "sim0", inText: true }, journald: true })[2]).toBe("<4>sim0: w; x\n");
});

test.each([
  ["quiet", 2],
  ["normal", 3],
  ["verbose", 4],
] as const)("%p writes %p of 4 lines", (level, count) => {
  expect(collect({ level })).toHaveLength(count);
});

test("as JSON, one object a line, its keys in a fixed order", () => {
  const [debug, info, warn, error] = parsed({ device: { name: "0000:00:04.0", inText: false } });
  const common = { time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/), device: "0000:00:04.0" };
  expect(debug).toEqual({ ...common, level: "debug", event: "vfio_opened", path: "/dev/vfio/1", text: "d" });
  expect(info).toEqual({ ...common, level: "info", event: "front_end_connected", text: "i" });
  expect(Object.keys(warn!)).toEqual(["time", "level", "event", "device", "queue", "error", "text"]);
  expect(warn).toMatchObject({ level: "warn", queue: 3, text: "w; x" });
  // An event that names a device is about that one.
  expect(error).toMatchObject({ level: "error", device: "0000:00:05.0" });
});

test("JSON has no device where a line is about none, and none in its text", () => {
  expect(parsed({})[1]).not.toHaveProperty("device");
  expect(parsed({ device: { name: "sim0", inText: true } })[1]).toMatchObject({ device: "sim0", text: "i" });
});

test("JSON lines have journald's priorities in front, as others do", () => {
  const lines = collect({ format: "json", journald: true });
  expect(lines.map((line) => line.slice(0, 4))).toEqual(["<7>{", "<6>{", "<4>{", "<3>{"]);
});

test.each(["text", "json"] as const)("a line stays one, short and harmless in %s", (format) => {
  const lines: string[] = [];
  const log = createLog({ ...VERBOSE, format }, (line) => lines.push(line));
  const evil = `\x1b]0;x\x07\r\n\u009b2J${"y".repeat(100_000)}`;
  log.warn(evil, { event: "message_refused", message: evil });
  expect(lines).toHaveLength(1);
  expect(lines[0]!.length).toBeLessThan(9000);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  expect(lines[0]).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  expect(lines[0]!.indexOf("\n")).toBe(lines[0]!.length - 1);
  if (format === "json") expect(JSON.parse(lines[0]!).message).toStartWith("\x1b]0;x\x07\r\n\u009b2J");
});

test("how much is said can change, for all that log by the same settings", () => {
  const lines: string[] = [];
  const settings = changeable({ ...VERBOSE, level: "normal" });
  const logs = ["a", "b"].map((name) =>
    createLog({ ...settings, device: { name, inText: true } }, (line) => lines.push(line.trim())),
  );
  const say = (level: Verbosity) => {
    changeLevel(settings, level);
    for (const log of logs) log.info(`info when ${level}`, { event: "link_changed" });
    for (const log of logs) log.debug(`debug when ${level}`, { event: "link_changed" });
  };
  for (const level of ["quiet", "verbose", "normal"] as const) say(level);
  expect(lines).toEqual([
    "a: info when verbose",
    "b: info when verbose",
    "debug: a: debug when verbose",
    "debug: b: debug when verbose",
    "a: info when normal",
    "b: info when normal",
  ]);
});

test("the same line as often as it is said", () => {
  const lines: string[] = [];
  const log = createLog(VERBOSE, (line) => lines.push(line));
  for (let i = 0; i < 50; i++) log.info("again", { event: "link_changed" });
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
