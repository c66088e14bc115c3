/** What all kinds of options have in common. */
interface OptionBase {
  /** One line for the help, without a full stop. */
  readonly description: string;
  /** Other names: one letter (`-p`) or a long spelling. */
  readonly alias?: readonly string[];
}

/** `--name`: present or not. */
export interface FlagOption extends OptionBase {
  readonly kind: "flag";
}

/** `--name VALUE`, at most once. */
export interface ValueOption<T> extends OptionBase {
  readonly kind: "value";
  /** What `--name` alone stands for. The value must be a number then, so that a word behind it is not taken for it. */
  readonly implied?: string;
  readonly hint: string;
  /** Checks and converts; throws an OperatorError of kind `usage` that says what is wrong. */
  readonly parse: (text: string) => T;
}

/** `--name VALUE`, any number of times; in an environment variable the values are parted by commas or blanks. */
export interface ListOption<T> extends OptionBase {
  readonly kind: "list";
  readonly hint: string;
  readonly parse: (text: string) => T;
}

// The parser's result type is known only where the option is declared, so collections of options erase it.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Option = FlagOption | ValueOption<any> | ListOption<any>;
export type Options = Readonly<Record<string, Option>>;

/** Typed values: flags are always there, a value is undefined and a list empty when not given. */
export type OptionValues<O extends Options> = {
  readonly [K in keyof O]: O[K] extends FlagOption
    ? boolean
    : O[K] extends ListOption<infer T>
      ? readonly T[]
      : O[K] extends ValueOption<infer T>
        ? T | undefined
        : never;
};

type Extra = { readonly alias?: readonly string[]; readonly implied?: string };

export const flag = (description: string, extra: Omit<Extra, "implied"> = {}): FlagOption => ({
  kind: "flag",
  description,
  ...extra,
});

export const value = <T>(
  hint: string,
  parse: (text: string) => T,
  description: string,
  extra: Extra = {},
): ValueOption<T> => ({ kind: "value", hint, parse, description, ...extra });

export const list = <T>(
  hint: string,
  parse: (text: string) => T,
  description: string,
  extra: Omit<Extra, "implied"> = {},
): ListOption<T> => ({ kind: "list", hint, parse, description, ...extra });
