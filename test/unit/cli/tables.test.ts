import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flag, list, value } from "../../../src/cli/options.ts";
import { integer, text } from "../../../src/cli/values.ts";
import { defineVerb } from "../../../src/cli/verb.ts";
import { runLine } from "./console.ts";

const EACH = {
  pci: value("BDF", text, "which"),
  queues: value("N", integer(1, 256), "how many"),
  force: flag("even so"),
  faults: list("NAME", text, "what goes wrong"),
};
const show = defineVerb({
  name: "show",
  description: "Show what came in",
  options: { ...EACH, metrics: value("WHERE", text, "for all") },
  tables: { name: "device", options: EACH, own: ["pci"] },
  run({ tables, output }) {
    output.write(tables.map(({ where, options }) => `${where}: ${JSON.stringify(options)}\n`).join(""));
    return 0;
  },
});
const plain = defineVerb({ name: "plain", description: "No tables", options: {}, run: () => 0 });
const VERBS = { show: async () => show, plain: async () => plain };

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-cli-"));
  path = join(folder, "c.toml");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function run(content: string, argv: readonly string[] = [], env: Record<string, string> = {}) {
  writeFileSync(path, content);
  return runLine(VERBS, ["show", "--config", path, ...argv], { env });
}
const device = (index: number, options: object) =>
  `[[device]] ${index} in ${path}: ${JSON.stringify(options)}\n`;

test("tables come in their order, with what stands above them and not in them", async () => {
  const file = `
    queues = 3
    force = true
    [[device]]
    pci = "A"
    faults = ["x", "y"]
    [[device]]
    pci = "B"
    queues = 4
    force = false`;
  expect(await run(file)).toEqual({
    code: 0,
    out:
      device(1, { pci: "A", queues: 3, force: true, faults: ["x", "y"] }) +
      device(2, { pci: "B", queues: 4, force: false, faults: [] }),
    err: "",
  });
});

test("a flag wins over a variable, and both over the tables", async () => {
  const file = '[[device]]\npci = "A"\nqueues = 1\n[[device]]\npci = "B"\n';
  const env = { VDPACTL_QUEUES: "2", VDPACTL_FORCE: "1" };
  expect((await run(file, [], env)).out).toBe(
    device(1, { pci: "A", queues: 2, force: true, faults: [] }) +
      device(2, { pci: "B", queues: 2, force: true, faults: [] }),
  );
  expect((await run(file, ["--queues", "5"], env)).out).toContain('"pci":"B","queues":5');
});

test("tables of the verb's own table", async () => {
  const { code, out } = await run('[show]\nqueues = 7\n[[show.device]]\npci = "A"\n');
  expect([code, out]).toEqual([
    0,
    `[[show.device]] 1 in ${path}: ${JSON.stringify({ pci: "A", queues: 7, force: false, faults: [] })}\n`,
  ]);
});

test("without a file, or tables in it, there are none", async () => {
  expect(await runLine(VERBS, ["show", "--pci", "A"])).toEqual({ code: 0, out: "", err: "" });
  expect(await run('pci = "A"')).toEqual({ code: 0, out: "", err: "" });
});

const ONE = '[[device]]\npci = "A"\n';
test.each([
  [`${ONE}quues = 1`, [], {}, 'unknown key "quues" in [[device]] 1 in FILE', "did you mean queues?"],
  [
    `${ONE}[[device]]\nqueues = 0`,
    [],
    {},
    "queues in [[device]] 2 in FILE",
    "a number from 1 to 256 is needed",
  ],
  [`${ONE}force = 1`, [], {}, "force in [[device]] 1 in FILE", "must be true or false"],
  [`${ONE}metrics = "x"`, [], {}, 'key "metrics" in [[device]] 1 in FILE', "it stands above the tables"],
  [`${ONE}verbose = true`, [], {}, 'key "verbose" in [[device]] 1 in FILE', "it stands above the tables"],
  ["device = 1", [], {}, "device in FILE", "must be tables, as in [[device]]"],
  ["device = []", [], {}, "device in FILE", "must be tables, as in [[device]]"],
  ["[device]\npci = 'A'", [], {}, "device in FILE", "must be tables, as in [[device]]"],
  ["[show]\ndevice = [1]", [], {}, "device in FILE", "must be tables, as in [[show.device]]"],
  [`${ONE}[[show.device]]\npci = "B"`, [], {}, "[[device]] and [[show.device]] in FILE", "one or the other"],
  [ONE, ["--pci", "B"], {}, "--pci does not go with tables [[device]]", "each of the 1 tables has its own"],
  [ONE, [], { VDPACTL_PCI: "B" }, "VDPACTL_PCI does not go with tables [[device]]", "has its own"],
  [`pci = "B"\n${ONE}`, [], {}, "pci in FILE does not go with tables", "each of the 1 tables has its own"],
] as const)("%j is refused", async (content, argv, env, what, why) => {
  const { code, err, out } = await run(content, argv, env);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toStartWith(`error: ${what.replace("FILE", path)}`);
  expect(err).toContain(why);
});

test("a verb that knows no tables refuses them", async () => {
  writeFileSync(path, ONE);
  const { code, err } = await runLine(VERBS, ["plain", "--config", path]);
  expect([code, err]).toEqual([2, expect.stringContaining('unknown key "device" in')]);
});
