import { GLOBALS } from "../../src/cli/globals.ts";
import type { Option, Options } from "../../src/cli/options.ts";
import { isGroup, type VerbTable } from "../../src/cli/verb-group.ts";

/** A verb, or a verb that has verbs of its own, as manual pages and completions need it. */
export interface Command {
  /** Words behind `vdpactl`, such as `migrate status`. */
  readonly name: string;
  readonly description: string;
  /** Its own flags and those that every verb has. */
  readonly options: Options;
  /** The option whose values may stand without a flag. */
  readonly positional: string | undefined;
  /** What a configuration file may describe several of, and the flags that only its tables may set then. */
  readonly tables: { readonly name: string; readonly own: readonly string[] } | undefined;
  readonly examples: readonly string[];
  /** Empty for a verb. */
  readonly verbs: readonly Command[];
}

/** All verbs of the program, from their definitions. */
export async function commandTree(verbs: VerbTable): Promise<readonly Command[]> {
  const loaded = await Promise.all(Object.values(verbs).map((load) => load()));
  return loaded.map((verb) => {
    const { name, description } = verb;
    if (!isGroup(verb)) return commandOf(verb);
    const own = Object.values(verb.verbs).map(commandOf);
    return {
      name,
      description,
      options: GLOBALS,
      positional: undefined,
      tables: undefined,
      examples: [],
      verbs: own,
    };
  });
}

interface VerbLike {
  readonly name: string;
  readonly description: string;
  readonly options: Options;
  readonly positional?: string;
  readonly tables?: { readonly name: string; readonly own: readonly string[] };
  readonly examples?: readonly string[];
}

const commandOf = ({ name, description, options, positional, tables, examples = [] }: VerbLike): Command => ({
  name,
  description,
  options: { ...options, ...GLOBALS },
  positional,
  tables,
  examples,
  verbs: [],
});

/** The groups' verbs after the group, everything in the order of the help. */
export const allCommands = (tree: readonly Command[]): readonly Command[] =>
  tree.flatMap((command) => [command, ...command.verbs]);

/** How a flag may be written, the long one first. */
export const spellings = (name: string, { alias = [] }: Option): readonly string[] =>
  [name, ...alias].map((word) => (word.length === 1 ? `-${word}` : `--${word}`));

/** What a completion offers as an option's value. */
export type ValueKind =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" | "directory" | "device" | "user" | "group" | "free" };

const BY_HINT: Readonly<Record<string, Exclude<ValueKind["kind"], "words">>> = {
  BDF: "device",
  PATH: "file",
  FILE: "file",
  DIR: "directory",
  USER: "user",
  GROUP: "group",
};

/** @returns undefined for flags, and for values that may be left out */
export function valueKind(option: Option): ValueKind | undefined {
  if (option.kind === "flag") return undefined;
  if (option.kind === "value" && option.implied !== undefined) return undefined;
  const { words } = option.parse as { words?: readonly string[] };
  return words ? { kind: "words", words } : { kind: BY_HINT[option.hint] ?? "free" };
}
