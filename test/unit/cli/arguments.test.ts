import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseArguments } from "../../../src/cli/arguments.ts";
import { flag, list, value } from "../../../src/cli/options.ts";
import { text } from "../../../src/cli/values.ts";

const OPTIONS = {
  json: flag("", { alias: ["j"] }),
  pretty: flag("", { alias: ["p"] }),
  "dry-run": flag(""),
  socket: value("PATH", text, "", { alias: ["socket-path", "s"] }),
  pci: list("BDF", text, ""),
};
const parse = (...argv: string[]): Record<string, unknown> => {
  const { given, words } = parseArguments(argv, OPTIONS);
  return { ...Object.fromEntries(given), words };
};
const usage = (what: string, more: object = {}) => expect.objectContaining({ kind: "usage", what, ...more });

test.each([
  [["--json"], { json: [] }],
  [["-jp"], { json: [], pretty: [] }],
  [["--socket", "/a"], { socket: ["/a"] }],
  [["--socket=/a=b"], { socket: ["/a=b"] }],
  [["--socket-path", "/a"], { socket: ["/a"] }],
  [["-js", "/a"], { json: [], socket: ["/a"] }],
  [["--socket=-x"], { socket: ["-x"] }],
  [["--socket", "-"], { socket: ["-"] }],
  [["--pci", "A", "--json", "--pci=B"], { pci: ["A", "B"], json: [] }],
])("%p", (argv, expected) => {
  expect(parse(...argv)).toEqual({ words: [], ...expected });
});

test("words stand anywhere, and behind -- everything is a word", () => {
  expect(parse("a", "--json", "-", "--", "--pci")).toEqual({ json: [], words: ["a", "-", "--pci"] });
});

test("parsing stops at the first word where that is asked for", () => {
  const { given, rest } = parseArguments(["-j", "probe", "--unknown"], OPTIONS, { untilWord: true });
  expect([...given.keys()]).toEqual(["json"]);
  expect(rest).toEqual(["probe", "--unknown"]);
});

test.each([
  [["--dryrun"], usage("unknown flag --dryrun", { why: "did you mean --dry-run?" })],
  [["--dry"], usage("unknown flag --dry", { why: "did you mean --dry-run?" })],
  [["--xyzzy"], usage("unknown flag --xyzzy", { why: undefined })],
  [["-x"], usage("unknown flag -x")],
  [["-jx"], usage("unknown flag -x (in -jx)")],
  [["--constructor"], usage("unknown flag --constructor")],
  [["--no-json"], usage("unknown flag --no-json")],
  [["--pci"], usage("--pci needs a value")],
  [["--pci", "--json"], usage("--pci needs a value")],
  [["--pci="], usage("--pci needs a value")],
  [["--pci", ""], usage("--pci needs a value")],
  [["-sj"], usage("-s (in -sj) needs a value")],
  [["--json=yes"], usage("--json takes no value")],
  [["--socket", "/a", "-s", "/b"], usage("-s was given twice")],
])("%p is refused", (argv, error) => {
  expect(() => parse(...argv)).toThrow(error);
});

test("any arguments either parse or are a usage error, and no value gets lost", () => {
  const token = fc.oneof(
    fc.constantFrom("--json", "-j", "--socket", "--pci", "--pci=A", "--", "-", "-jp", "word"),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 8 }), (argv) => {
      try {
        const { given, words } = parseArguments(argv, OPTIONS);
        for (const [name, texts] of given) {
          expect(Object.keys(OPTIONS)).toContain(name);
          for (const text of texts) expect(text).not.toBe("");
        }
        for (const word of words) expect(argv).toContain(word);
      } catch (error) {
        expect(error).toMatchObject({ name: "OperatorError", kind: "usage" });
      }
    }),
  );
});
