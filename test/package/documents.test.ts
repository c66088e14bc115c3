import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { generatedDocuments } from "../../scripts/package.d/documents.ts";
import { VERBS } from "../../src/commands/verbs.ts";
import { execute } from "./support/execute.ts";

let folder: string;
let documents: ReadonlyMap<string, string>;
const pathOf = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-documents-"));
  documents = await generatedDocuments(VERBS, { version: "1.2.3", date: "2026-01-02" });
  for (const [name, text] of documents) {
    mkdirSync(dirname(pathOf(name)), { recursive: true });
    writeFileSync(pathOf(name), text);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("every verb has a page, and no page a mistake", async () => {
  const pages = [...documents.keys()].filter((name) => name.startsWith("man/"));
  const verbs = ["probe", "bind", "serve", "stats", "migrate", "migrate-status", "migrate-to"];
  for (const verb of verbs) expect(pages).toContain(`man/man1/vdpactl-${verb}.1`);
  const { out, err } = await execute(["mandoc", "-T", "lint", "-W", "warning", ...pages.map(pathOf)]);
  expect(out + err).toBe("");
});

test("a page shows flags, words and examples as they are typed", async () => {
  const { out } = await execute(["mandoc", "-T", "utf8", pathOf("man/man1/vdpactl-serve.1")]);
  // mandoc prints bold and underlined characters over each other.
  const shown = out.replaceAll(/.[\b]/g, "");
  expect(shown).toContain("--socket, --socket-path PATH");
  expect(shown).toContain("one of auto, direct, relay");
  expect(shown).toContain("vdpactl serve --sim --socket /tmp/vh.sock");
  expect(shown).toContain("--keep-socket");
  expect(shown).toContain("SEVERAL DEVICES");
  expect(shown.replaceAll(/\s+/g, " ")).toContain("in a table [[device]] of its own");
  expect(shown).toMatch(/2\s+wrong arguments/);
});

/** What each shell completes of a line. */
const SHELLS: Readonly<Record<string, (line: string) => Promise<string[]>>> = {
  bash: async (line) => {
    const script = `. "$1"; COMP_LINE=$2 COMP_POINT=\${#2}; _vdpactl; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const file = pathOf("bash-completion/completions/vdpactl");
    return words((await execute(["bash", "--norc", "-uc", script, "bash", file, line])).out);
  },
  fish: async (line) => {
    const file = pathOf("fish/vendor_completions.d/vdpactl.fish");
    const script = "source $argv[1]; complete -C $argv[2]";
    const home = { HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
    const { out } = await execute(["fish", "--no-config", "-c", script, file, line], home);
    return words(out.replaceAll(/\t.*/g, ""));
  },
};

const words = (out: string) => [...new Set(out.split("\n").filter(Boolean))].sort();

for (const [shell, complete] of Object.entries(SHELLS)) {
  describe(shell, () => {
    test("verbs", async () => {
      expect(await complete("vdpactl ")).toEqual(["bind", "migrate", "probe", "serve", "stats"]);
      expect(await complete("vdpactl --verbose s")).toEqual(["serve", "stats"]);
      expect(await complete("vdpactl migrate ")).toEqual(["cancel", "check", "prepare", "status", "to"]);
    });

    test("flags of the verb only", async () => {
      expect(await complete("vdpactl serve --socket-")).toEqual([
        "--socket-group",
        "--socket-mode",
        "--socket-owner",
        "--socket-path",
      ]);
      expect(await complete("vdpactl probe --socket-")).toEqual([]);
      expect(await complete("vdpactl migrate check --wi")).toEqual(["--with"]);
      expect(await complete("vdpactl --vers")).toEqual(["--version"]);
    });

    test("values", async () => {
      expect(await complete("vdpactl serve --sim --datapath ")).toEqual(["auto", "direct", "relay"]);
      expect(await complete("vdpactl serve --sim --datapath d")).toEqual(["direct"]);
      expect(await complete("vdpactl serve --sim-fault need")).toEqual(["needs-reset"]);
    });
  });
}

test("zsh reads its file, which describes every flag", async () => {
  const file = pathOf("zsh/vendor-completions/_vdpactl");
  await execute(["zsh", "-fn", file]);
  const text = documents.get("zsh/vendor-completions/_vdpactl")!;
  expect(text).toContain("'(--datapath)--datapath=[who moves ring entries");
  expect(text).toContain(":how:(auto direct relay)'");
});
