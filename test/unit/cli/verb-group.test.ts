import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { value } from "../../../src/cli/options.ts";
import { decimal } from "../../../src/cli/values.ts";
import { defineVerb } from "../../../src/cli/verb.ts";
import { runLine } from "./console.ts";

const wait = value("SECONDS", decimal(0, 100), "how long", { alias: ["w"], implied: "1" });
const leaf = (name: string) =>
  defineVerb({
    name: `tree ${name}`,
    description: `The ${name}`,
    options: { wait },
    run: ({ options, output }) => {
      output.print({ name, wait: options.wait ?? null }, () => `${name} ${options.wait}`);
      return 0;
    },
  });
const tree = { name: "tree", description: "Many leaves", verbs: { oak: leaf("oak"), beech: leaf("beech") } };
const run = (...argv: string[]) => runLine({ tree: async () => tree }, argv);

test("the word behind the verb is a verb in turn", async () => {
  expect(await run("tree", "oak")).toEqual({ code: 0, out: "oak undefined\n", err: "" });
  expect((await run("tree", "--json", "beech")).out).toBe('{"name":"beech","wait":null}\n');
  expect((await run("--json", "tree", "beech", "--wait=2.5")).out).toBe('{"name":"beech","wait":2.5}\n');
});

test("a typo is explained, in the verb and in its flags", async () => {
  expect(await run("tree", "beach")).toEqual({
    code: 2,
    out: "",
    err: 'error: unknown command "tree beach"\n  why: did you mean tree beech?\n  try: vdpactl tree --help\n',
  });
  expect((await run("tree", "xyz")).err).toContain("try: vdpactl tree --help");
  expect((await run("tree", "--wait", "oak")).err).toContain("error: unknown flag --wait");
  expect((await run("tree", "oak", "--wat")).err).toContain("did you mean --wait?");
  expect((await run("tree", "constructor")).code).toBe(2);
});

test("help of the group and of its verbs", async () => {
  const group = await run("tree", "--help");
  expect(group.code).toBe(0);
  expect(group.out).toContain("USAGE vdpactl tree");
  expect(group.out).toContain("The beech");
  const bare = await run("tree");
  expect([bare.code, bare.out]).toEqual([2, ""]);
  expect(bare.err).toContain("The beech");
  expect((await run("tree", "oak", "--help")).out).toContain("USAGE vdpactl tree oak");
});

test("a value that a flag alone stands for", async () => {
  expect((await run("tree", "oak", "--wait")).out).toBe("oak 1\n");
  expect((await run("tree", "oak", "--wait", "--quiet")).out).toBe("oak 1\n");
  expect((await run("tree", "oak", "--wait", "5")).out).toBe("oak 5\n");
  expect((await run("tree", "oak", "-w", "0.5")).out).toBe("oak 0.5\n");
  expect((await run("tree", "oak", "-w")).out).toBe("oak 1\n");
  expect((await run("tree", "oak", "--wait", "five")).err).toContain('unexpected word "five"');
  expect((await run("tree", "oak", "--wait", "500")).code).toBe(2);
});

test("the configuration file has a table within the group's for each of its verbs", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vdpactl-group-"));
  try {
    const path = join(folder, "c.toml");
    writeFileSync(path, "[tree.oak]\nwait = 3\n[tree.beech]\nwait = 4\n");
    expect((await run("tree", "oak", "--config", path)).out).toBe("oak 3\n");
    expect((await run("tree", "beech", "--config", path)).out).toBe("beech 4\n");
    writeFileSync(path, "[tree.oak]\nwat = 3\n");
    expect((await run("tree", "oak", "--config", path)).err).toContain(
      `unknown key "wat" in [tree.oak] in ${path}`,
    );
    expect((await run("tree", "beech", "--config", path)).code).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
