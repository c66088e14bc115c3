import { parseArguments, usageError } from "./arguments.ts";
import { GLOBALS } from "./globals.ts";
import { nearest } from "./nearest.ts";
import type { RawValues } from "./resolve.ts";
import type { Verb } from "./verb.ts";

/** Verbs by name; a module is loaded only when its verb is used. */
export type VerbTable = Readonly<Record<string, () => Promise<Verb | VerbGroup>>>;

/** A verb whose next word is a verb in turn: `vdpactl migrate prepare`. Its verbs are named `migrate prepare`. */
export interface VerbGroup {
  readonly name: string;
  /** One line for the help, without a full stop. */
  readonly description: string;
  readonly verbs: Readonly<Record<string, Verb>>;
}

export const isGroup = (verb: Verb | VerbGroup): verb is VerbGroup => "verbs" in verb;

export interface Picked {
  /** Undefined when only the group was named. */
  readonly verb: Verb | undefined;
  /** The flags in front of it, which every verb has. */
  readonly given: RawValues;
  readonly rest: readonly string[];
}

/** Finds the verb of a group. Flags that every verb has may stand in front of it. */
export function pickVerb(group: VerbGroup, before: RawValues, argv: readonly string[]): Picked {
  const parsed = parseArguments(argv, GLOBALS, { untilWord: true, command: `vdpactl ${group.name}` });
  const given = new Map([...before, ...parsed.given]);
  const [name, ...rest] = parsed.words.length > 0 ? parsed.words : parsed.rest;
  const verb = name !== undefined && Object.hasOwn(group.verbs, name) ? group.verbs[name] : undefined;
  if (name === undefined || verb) return { verb, given, rest };
  const near = nearest(name, Object.keys(group.verbs));
  throw usageError(`unknown command "${group.name} ${name}"`, near && `did you mean ${group.name} ${near}?`);
}
