import { OperatorError } from "../hw/operator-error.ts";
import { usageError } from "./arguments.ts";
import type { Option, Options } from "./options.ts";

/** Values of options as text, by name. A flag's text is `true` or `false`. */
export type RawValues = ReadonlyMap<string, readonly string[]>;

/** Where raw values come from; the first source that has an option decides it. */
export interface Source {
  readonly values: RawValues;
  /** How an option is written there, for messages: `--pci`, `VDPACTL_PCI`, `pci in vdpactl.toml`. */
  readonly spell: (name: string) => string;
}

/** Converts and checks all options. */
export function resolveOptions(options: Options, sources: readonly Source[]): Record<string, unknown> {
  const resolved: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const source = sources.find(({ values }) => values.has(name));
    const texts = source?.values.get(name) ?? [];
    resolved[name] = convert(option, texts, source?.spell(name) ?? name, source !== undefined);
  }
  return resolved;
}

function convert(option: Option, texts: readonly string[], spelling: string, given: boolean): unknown {
  if (option.kind === "flag") return given && texts[0] !== "false";
  const parse = (text: string): unknown => {
    try {
      return option.parse(text);
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      const { what, why, remedy, kind } = error;
      throw new OperatorError(`${spelling}: ${what}`, { why, remedy, kind, cause: error });
    }
  };
  if (option.kind === "list") return texts.map(parse);
  return texts[0] === undefined ? undefined : parse(texts[0]);
}

const TRUE = ["1", "true", "yes", "on"];
const FALSE = ["0", "false", "no", "off"];

export const variableOf = (name: string) => `VDPACTL_${name.toUpperCase().replaceAll("-", "_")}`;

/** The environment's values: `VDPACTL_` and the option's name in capitals. Empty variables count as not set. */
export function environmentSource(
  options: Options,
  env: Readonly<Record<string, string | undefined>>,
): Source {
  const values = new Map<string, readonly string[]>();
  for (const [name, option] of Object.entries(options)) {
    const text = env[variableOf(name)]?.trim();
    if (!text) continue;
    if (option.kind === "list") values.set(name, text.split(/[\s,]+/).filter(Boolean));
    else if (option.kind === "value") values.set(name, [text]);
    else if (TRUE.includes(text.toLowerCase())) values.set(name, ["true"]);
    else if (FALSE.includes(text.toLowerCase())) values.set(name, ["false"]);
    else throw usageError(`${variableOf(name)} is "${text}"`, "it switches something on (1) or off (0)");
  }
  return { values, spell: variableOf };
}
