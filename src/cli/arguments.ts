import { OperatorError } from "../hw/operator-error.ts";
import { nearest } from "./nearest.ts";
import type { FlagOption, Option, Options } from "./options.ts";

/** What the command line says, as text and not yet converted. */
export interface RawArguments {
  /** Names of the options without aliases. Flags have no values. */
  readonly given: ReadonlyMap<string, readonly string[]>;
  /** Words that belong to no flag, in order. */
  readonly words: readonly string[];
}

type Valued = Exclude<Option, FlagOption>;

export const usageError = (what: string, why?: string, remedy?: string) =>
  new OperatorError(what, { why, remedy, kind: "usage" });

/**
 * Splits arguments by the known options. Unknown flags, missing or superfluous values and a value given twice
 * are usage errors. A value that begins with a dash must be written as `--name=-value`.
 * @param untilWord stop in front of the first word and return the rest as `rest`
 */
export function parseArguments(
  argv: readonly string[],
  options: Options,
  { untilWord = false, command = "vdpactl" } = {},
): RawArguments & { readonly rest: readonly string[] } {
  const names = namesOf(options);
  const given = new Map<string, string[]>();
  const words: string[] = [];
  let at = 0;
  const lookUp = (name: string, written: string): [string, Option] => {
    const known = names.get(name);
    if (known) return [known, options[known]!];
    throw unknownFlag(written, names);
  };
  const valueAfter = (written: string, option: Valued): string => {
    const next = argv[at];
    const implied = option.kind === "value" ? option.implied : undefined;
    if (implied !== undefined && !/^\d/.test(next ?? "")) return implied;
    if (next === undefined || (next.startsWith("-") && next !== "-")) {
      throw usageError(`${written} needs a value`, undefined, `${command} … ${written} ${option.hint}`);
    }
    at++;
    return next;
  };
  const add = (name: string, option: Option, written: string, inline: string | undefined) => {
    if (option.kind === "flag") {
      if (inline !== undefined) throw usageError(`${written} takes no value`, `"${inline}" was given`);
      given.set(name, []);
      return;
    }
    const text = inline ?? valueAfter(written, option);
    if (text === "") throw usageError(`${written} needs a value`, "an empty one was given");
    const earlier = given.get(name) ?? [];
    if (option.kind === "value" && earlier.length > 0) {
      throw usageError(`${written} was given twice`, `"${earlier[0]}" and "${text}"`);
    }
    given.set(name, [...earlier, text]);
  };
  while (at < argv.length) {
    const token = argv[at]!;
    if (token === "--") {
      words.push(...argv.slice(at + 1));
      at = argv.length;
    } else if (token.startsWith("--")) {
      at++;
      const [, written, inline] = /^(--[^=]*)(?:=([\s\S]*))?$/.exec(token)!;
      add(...lookUp(written!.slice(2), written!), written!, inline);
    } else if (token.startsWith("-") && token !== "-") {
      at++;
      addLetters(token, lookUp, add);
    } else if (untilWord) {
      break;
    } else {
      at++;
      words.push(token);
    }
  }
  return { given, words, rest: argv.slice(at) };
}

/** `-jp` is `-j -p`; the last letter may be an option that takes the next argument as its value. */
function addLetters(
  token: string,
  lookUp: (name: string, written: string) => [string, Option],
  add: (name: string, option: Option, written: string, inline: string | undefined) => void,
): void {
  const letters = [...token.slice(1)];
  for (const [i, letter] of letters.entries()) {
    const [name, option] = lookUp(letter, letters.length > 1 ? `-${letter} (in ${token})` : token);
    if (option.kind !== "flag" && i < letters.length - 1) {
      throw usageError(
        `-${letter} (in ${token}) needs a value`,
        "only the last letter of a group can take one",
      );
    }
    add(name, option, `-${letter}`, undefined);
  }
}

function namesOf(options: Options): Map<string, string> {
  const names = new Map<string, string>();
  for (const [name, { alias = [] }] of Object.entries(options)) {
    for (const spelling of [name, ...alias]) names.set(spelling, name);
  }
  return names;
}

function unknownFlag(written: string, names: Map<string, string>): OperatorError {
  const word = written.replace(/^-+/, "");
  const near = nearest(
    word,
    [...names.keys()].filter((name) => name.length > 1),
  );
  return usageError(`unknown flag ${written}`, near && `did you mean --${near}?`);
}
