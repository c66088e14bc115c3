import { afterEach, beforeEach, expect, test } from "bun:test";
import { fstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flag, list, value } from "../../../src/cli/options.ts";
import { integer, text } from "../../../src/cli/values.ts";
import { defineVerb } from "../../../src/cli/verb.ts";
import { OperatorError } from "../../../src/hw/operator-error.ts";
import { runLine } from "./console.ts";

const show = defineVerb({
  name: "show",
  description: "Show what came in",
  options: {
    pci: list("BDF", text, "devices"),
    queues: value("N", integer(1, 256), "how many"),
    force: flag("even so"),
    fail: value("HOW", text, "how to end"),
  },
  positional: "pci",
  examples: ["vdpactl show 00:04.0"],
  async run({ options, output, log, signal }) {
    log.debug("debugging", { event: "module_loading", module: "m" });
    log.info("informing", { event: "nothing_to_do" });
    if (options.fail === "error") throw new Error("odd\nthing");
    if (options.fail === "code") return 7;
    if (options.fail === "interrupt") {
      process.emit("SIGINT");
      signal.throwIfAborted();
    }
    if (options.fail)
      throw new OperatorError("it failed", { why: "so", remedy: "do that", kind: options.fail as "failed" });
    const { pci, queues, force } = options;
    output.print({ pci, queues: queues ?? null, force }, () => `${pci.join("+")} ${queues} ${force}`);
    return;
  },
});
const plain = defineVerb({ name: "plain", description: "No words", options: {}, run: () => 0 });
const VERBS = { show: async () => show, plain: async () => plain };
const run = (argv: string[], more: Parameters<typeof runLine>[2] = {}) => runLine(VERBS, argv, more);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const config = (content: string) => {
  const path = join(folder, "c.toml");
  writeFileSync(path, content);
  return path;
};

test("values, flags and words", async () => {
  expect(await run(["show", "A", "--pci", "B", "--queues", "4", "--force"])).toEqual({
    code: 0,
    // Words come after the values of the flag.
    out: "B+A 4 true\n",
    err: "informing\n",
  });
});

test.each([[["-j", "show", "A"]], [["show", "A", "--json"]], [["show", "-j", "A"]]])(
  "%p is JSON",
  async (argv) => {
    expect((await run(argv)).out).toBe('{"pci":["A"],"queues":null,"force":false}\n');
  },
);

test("pretty JSON is indented", async () => {
  expect((await run(["show", "--pretty", "A"])).out).toBe(
    JSON.stringify({ pci: ["A"], queues: null, force: false }, null, 2) + "\n",
  );
});

test("less and more on standard error", async () => {
  expect((await run(["-q", "show"])).err).toBe("");
  expect((await run(["show", "-v"])).err).toBe("debug: debugging\ninforming\n");
});

test("version and help", async () => {
  expect(await run(["--version"])).toEqual({ code: 0, out: "vdpactl 9.8.7\n", err: "" });
  const help = await run(["--help"]);
  expect(help.out).toContain("Show what came in");
  expect(help.err).toBe("");
  for (const argv of [
    ["show", "--help"],
    ["-h", "show"],
    ["show", "-h", "--queues", "4"],
  ]) {
    const { code, out } = await run(argv);
    expect(code).toBe(0);
    expect(out).toContain("--queues=<N>");
    expect(out).toContain("vdpactl show 00:04.0");
    expect(out).not.toContain("\x1b");
  }
});

test("no verb at all shows the help on standard error", async () => {
  const { code, out, err } = await run([]);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toContain("USAGE");
});

test.each([
  [["shwo"], 'error: unknown command "shwo"\n  why: did you mean show?\n  try: vdpactl --help\n'],
  [["constructor"], 'error: unknown command "constructor"\n  try: vdpactl --help\n'],
  [["--forec", "show"], "error: unknown flag --forec\n  try: vdpactl --help\n"],
  [
    ["show", "--forec"],
    "error: unknown flag --forec\n  why: did you mean --force?\n  try: vdpactl show --help\n",
  ],
  [["plain", "word"], 'error: unexpected word "word"\n  try: vdpactl plain --help\n'],
  [["show", "--queues"], "error: --queues needs a value\n  try: vdpactl show … --queues N\n"],
  [
    ["show", "--queues", "0"],
    'error: --queues: "0" is not a valid value\n  why: a number from 1 to 256 is needed\n  try: vdpactl show --help\n',
  ],
])("%p is a usage error", async (argv, err) => {
  expect(await run(argv)).toEqual({ code: 2, out: "", err });
});

test.each([
  ["failed", 1],
  ["usage", 2],
  ["not-ready", 3],
  ["refused", 4],
  ["protocol", 5],
])("an error of kind %p ends with %p", async (kind, code) => {
  expect(await run(["-q", "show", "--fail", kind])).toEqual({
    code,
    out: "",
    err: "error: it failed\n  why: so\n  try: do that\n",
  });
});

test("an unexpected error is one line, and all of it with -v", async () => {
  const { code, err } = await run(["-q", "show", "--fail", "error"]);
  expect([code, err.split("\n")[0]]).toEqual([1, "error: Error: odd; thing"]);
  expect((await run(["show", "-v", "--fail", "error"])).err).toContain("run.test.ts");
});

test("the verb's own exit code", async () => {
  expect((await run(["show", "--fail", "code"])).code).toBe(7);
});

test("an interrupt ends with 130", async () => {
  expect(await run(["-q", "show", "--fail", "interrupt"])).toEqual({ code: 130, out: "", err: "" });
});

test("nobody reading is no error", async () => {
  expect(await run(["-q", "show"], { brokenPipe: true })).toEqual({ code: 0, out: "", err: "" });
});

test("the log as JSON: by flag, by environment, by file, and so is the error at the end", async () => {
  const path = config('log-format = "json"\n');
  const fail = ["show", "--fail", "not-ready"];
  for (const [argv, env] of [
    [["--log-format", "json", ...fail], {}],
    [[...fail, "--log-format=json"], { VDPACTL_LOG_FORMAT: "text" }],
    [fail, { VDPACTL_LOG_FORMAT: "json" }],
    [[...fail, "--config", path], {}],
  ] as const) {
    const { code, err } = await run([...argv], { env });
    const [first, last] = err
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(first).toMatchObject({ level: "info", event: "nothing_to_do", text: "informing" });
    expect(last).toMatchObject({
      level: "error",
      event: "command_failed",
      error: "it failed",
      reason: "so",
      remedy: "do that",
      exit_code: code,
      text: "it failed: so; try: do that",
    });
  }
  expect((await run([...fail, "--config", path, "--log-format", "text"])).err).toStartWith(
    "informing\nerror:",
  );
});

test.each([
  [["--log-format", "json", "--xyzzy", "show"], {}],
  [["show", "--xyzzy", "--log-format=json"], {}],
  [["show", "--xyzzy"], { VDPACTL_LOG_FORMAT: "json" }],
  [["shwo", "--log-format", "json"], {}],
])("an error of the command line %p is JSON too", async (argv, env) => {
  const { err } = await run(argv, { env });
  expect(JSON.parse(err)).toMatchObject({ event: "command_failed", exit_code: 2 });
});

test("a format that is none", async () => {
  const { code, err } = await run(["show", "--log-format", "xml"]);
  expect([code, err]).toEqual([
    2,
    'error: --log-format: "xml" is not a valid value\n  why: one of text, json is needed\n  try: vdpactl show --help\n',
  ]);
});

test("unexpected errors as JSON are marked as ours, and tell where with -v", async () => {
  const argv = ["show", "-q", "--log-format", "json", "--fail", "error"];
  const { text, stack } = JSON.parse((await run(argv)).err);
  expect([text, stack]).toEqual(["Error: odd; thing; this is a fault of vdpactl", undefined]);
  const verbose = (await run(["-v", "show", "--log-format", "json", "--fail", "error"])).err;
  expect(JSON.parse(verbose.trimEnd().split("\n").at(-1)!).stack).toContain("run.test.ts");
});

test("in the journal an error is one line with its priority", async () => {
  const { dev, ino } = fstatSync(2, { bigint: true });
  const env = { JOURNAL_STREAM: `${dev}:${ino}` };
  const { err } = await run(["-q", "show", "--fail", "failed"], { env });
  expect(err).toBe("<3>it failed: so; try: do that\n");
});

test("a flag wins over the environment, which wins over the file", async () => {
  const path = config('queues = 1\nforce = true\npci = ["F"]\n');
  const env = { VDPACTL_QUEUES: "2", VDPACTL_PCI: "A, B" };
  expect((await run(["show", "--config", path, "--queues", "3"], { env })).out).toBe("A+B 3 true\n");
  expect((await run(["show"], { env: { ...env, VDPACTL_CONFIG: path } })).out).toBe("A+B 2 true\n");
  expect((await run(["--config", path, "show"])).out).toBe("F 1 true\n");
});

test("the environment can switch a flag of the file off", async () => {
  const path = config("force = true");
  expect((await run(["show", "--config", path], { env: { VDPACTL_FORCE: "off" } })).out).toBe(
    " undefined false\n",
  );
});

test("a table of the file is for its verb alone", async () => {
  const path = config("[show]\nqueues = 5\n[plain]\n");
  expect((await run(["show", "--config", path])).out).toBe(" 5 false\n");
  expect((await run(["plain", "--config", path])).code).toBe(0);
});

test("a flag with the name of another verb is a flag, and a table of that name is the verb's", async () => {
  const start = defineVerb({
    name: "start",
    description: "Start",
    options: { plain: flag("plainly") },
    run({ options, output }) {
      output.print({}, () => `${options.plain}`);
      return 0;
    },
  });
  const verbs = { start: async () => start, plain: async () => plain };
  const started = async (content: string) =>
    (await runLine(verbs, ["start", "--config", config(content)])).out;
  expect(await started("plain = true")).toBe("true\n");
  expect(await started("[start]\nplain = true")).toBe("true\n");
  expect(await started("[plain]\nverbose = false")).toBe("false\n");
  const other = await runLine(verbs, ["plain", "--config", config("plain = true")]);
  expect(other).toMatchObject({ code: 2, err: expect.stringContaining("must be a table, as in [plain]") });
});

test("bad environment variables are named", async () => {
  expect((await run(["show"], { env: { VDPACTL_FORCE: "maybe" } })).err).toStartWith(
    'error: VDPACTL_FORCE is "maybe"',
  );
  expect((await run(["show"], { env: { VDPACTL_QUEUES: "x" } })).err).toStartWith(
    'error: VDPACTL_QUEUES: "x"',
  );
});

test.each([
  ["quues = 1", 'unknown key "quues" in'],
  ["[show]\nforec = true", 'unknown key "forec" in [show] in'],
  ["config = 'x'", 'unknown key "config" in'],
  ["force = 1", "force in"],
  ["queues = [1]", "queues in"],
  ["pci = {}", "pci in"],
  ["show = 1", "show in"],
  ["queues = 1000", "queues in"],
  ["queues = ", "is not valid TOML"],
])("the file %p is refused", async (content, message) => {
  const { code, err } = await run(["show", "--config", config(content)]);
  expect(code).toBe(2);
  expect(err).toContain(message);
  expect(err).toEndWith("\n  try: vdpactl show --help\n");
});

test("a file that is not there", async () => {
  const { code, err } = await run(["show", "--config", `${folder}/none.toml`]);
  expect(code).toBe(2);
  expect(err).toContain("cannot read the configuration file");
});

test("colours on a terminal, unless somebody wants none", async () => {
  const red = "\x1b[31merror:\x1b[39m";
  const argv = ["-q", "show", "--fail", "failed"];
  expect((await run(argv, { terminal: true })).err).toStartWith(red);
  expect((await run([...argv, "--no-color"], { terminal: true })).err).toStartWith("error:");
  expect((await run(argv, { terminal: true, env: { NO_COLOR: "1" } })).err).toStartWith("error:");
  expect((await run(argv, { terminal: true, env: { TERM: "dumb" } })).err).toStartWith("error:");
  expect((await run(["--xyzzy", "--no-color"], { terminal: true })).err).toStartWith("error:");
});
