import { readFileSync } from "node:fs";
import * as v from "valibot";
import { messageOf } from "../hw/operator-error.ts";
import { usageError } from "./arguments.ts";
import { nearest } from "./nearest.ts";
import type { Option, Options } from "./options.ts";
import type { Source } from "./resolve.ts";
import type { TableSpec } from "./verb.ts";

/** Larger files are not ours. */
const MAX_BYTES = 1 << 20;

const scalar = v.pipe(
  v.union([v.string(), v.number(), v.bigint()], "must be a string or a number"),
  v.transform(String),
  v.nonEmpty("must not be empty"),
);
const schemaOf = (option: Option) => {
  if (option.kind === "flag")
    return v.pipe(
      v.boolean("must be true or false"),
      v.transform((on) => [String(on)]),
    );
  const single = v.pipe(
    scalar,
    v.transform((text) => [text]),
  );
  return option.kind === "value"
    ? single
    : v.union([v.array(scalar), single], "must be a value or an array of them");
};

/** What a configuration file says for one verb. */
export interface ConfigFile {
  readonly source: Source;
  /** Its repeated tables in order; `where` is how messages name one. */
  readonly tables: readonly { readonly where: string; readonly source: Source }[];
}

/**
 * Reads a configuration file for one verb. Its keys are the verb's flags; a table named after a verb holds flags
 * for that verb alone and wins over the file's head. Repeated tables stand in either place.
 *
 *     verbose = true
 *     [serve]
 *     pci = "0000:00:04.0"
 *
 * @throws OperatorError (usage) when it can not be read, is no TOML, or has an unknown key or a value of the wrong type
 */
export function readConfigFile(
  path: string,
  verb: string,
  verbs: readonly string[],
  options: Options,
  repeated?: TableSpec<Options>,
): ConfigFile {
  const file = parse(path);
  const table = verb.replaceAll(" ", ".");
  const tables = v.record(v.string(), v.unknown(), `must be a table, as in [${table}]`);
  // `bind = true` is a flag of serve, [bind] a table of bind's.
  const ofVerb = ([key, value]: [string, unknown]) => verbs.includes(key) && (key === verb || isTable(value));
  const head = Object.fromEntries(Object.entries(file).filter((entry) => !ofVerb(entry)));
  // The table of `migrate cancel` is [migrate.cancel].
  let own = file;
  for (const word of verb.split(" ")) {
    own = Object.hasOwn(own, word) ? check(path, tables, own[word], table) : {};
  }
  const inHead = repeated && takeTables(path, head, repeated, "", options);
  const inOwn = repeated && takeTables(path, own, repeated, `${table}.`, options);
  if (inHead?.entries && inOwn?.entries) {
    throw usageError(`${inHead.name} and ${inOwn.name} in ${path}`, "they must all be one or the other");
  }
  const values = new Map([
    ...flagsOf(path, inHead?.rest ?? head, options, ""),
    ...flagsOf(path, inOwn?.rest ?? own, options, ` in [${table}]`),
  ]);
  return {
    source: { values, spell: (name) => `${name} in ${path}` },
    tables: inHead?.entries ?? inOwn?.entries ?? [],
  };
}

interface TakenTables {
  readonly name: string;
  /** Undefined when there are none. */
  readonly entries: ConfigFile["tables"] | undefined;
  /** The keys that are not of repeated tables. */
  readonly rest: Record<string, unknown>;
}

/** Takes the repeated tables out of a table. */
function takeTables(
  path: string,
  table: Record<string, unknown>,
  { name, options }: TableSpec<Options>,
  prefix: string,
  verbs: Options,
): TakenTables {
  const spelled = `[[${prefix}${name}]]`;
  if (!Object.hasOwn(table, name)) return { name: spelled, entries: undefined, rest: table };
  const { [name]: repeated, ...rest } = table;
  const problem = `must be tables, as in ${spelled}`;
  const schema = v.pipe(v.array(v.record(v.string(), v.unknown(), problem), problem), v.nonEmpty(problem));
  const entries = check(path, schema, repeated, name).map((entry, i) => {
    const place = `${spelled} ${i + 1}`;
    const wide = Object.keys(entry).find((key) => Object.hasOwn(verbs, key) && !Object.hasOwn(options, key));
    if (wide !== undefined) {
      throw usageError(
        `key "${wide}" in ${place} in ${path}`,
        "it can not differ, so it stands above the tables",
      );
    }
    const values = new Map(flagsOf(path, entry, options, ` in ${place}`));
    const where = `${place} in ${path}`;
    return { where, source: { values, spell: (key: string) => `${key} in ${where}` } };
  });
  return { name: spelled, entries, rest };
}

function parse(path: string): Record<string, unknown> {
  let source: string;
  try {
    source = readFileSync(path, "utf8");
  } catch (error) {
    throw usageError(`cannot read the configuration file ${path}`, messageOf(error));
  }
  if (source.length > MAX_BYTES) throw usageError(`${path} is too large for a configuration file`);
  try {
    return Bun.TOML.parse(source) as Record<string, unknown>;
  } catch (error) {
    throw usageError(`${path} is not valid TOML`, messageOf(error).replace(/^TOML Parse error: /, ""));
  }
}

function flagsOf(
  path: string,
  table: Record<string, unknown>,
  options: Options,
  where: string,
): [string, readonly string[]][] {
  for (const key of Object.keys(table)) {
    if (Object.hasOwn(options, key)) continue;
    const near = nearest(key, Object.keys(options));
    throw usageError(`unknown key "${key}"${where} in ${path}`, near && `did you mean ${near}?`);
  }
  const known = Object.entries(options).filter(([name]) => Object.hasOwn(table, name));
  return known.map(([name, option]) => [name, check(path, schemaOf(option), table[name], `${name}${where}`)]);
}

const isTable = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);

function check<T>(path: string, schema: v.GenericSchema<unknown, T>, input: unknown, what: string): T {
  const result = v.safeParse(schema, input);
  if (result.success) return result.output;
  throw usageError(`${what} in ${path} has a wrong value`, result.issues[0].message);
}
