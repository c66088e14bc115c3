import { type ArgsDef, type CommandDef, defineCommand } from "citty";
import type { Log } from "../hw/log.ts";
import type { LogSettings } from "./log.ts";
import type { Options, OptionValues } from "./options.ts";
import type { Output } from "./output.ts";

/**
 * How a command file looks (src/commands/NAME.ts, one verb each; helpers go to src/commands/NAME/):
 *
 *     import { parseBdf } from "../hw/pci/bdf.ts";
 *     import { flag, list, value } from "../cli/options.ts";
 *     import { integer } from "../cli/values.ts";
 *     import { defineVerb } from "../cli/verb.ts";
 *
 *     export default defineVerb({
 *       name: "serve",
 *       description: "Serve a device to a vhost-user front-end",
 *       options: {
 *         pci: list("BDF", parseBdf, "the device"),
 *         queues: value("N", integer(1, 256), "how many queue pairs to offer"),
 *         client: flag("connect to the socket instead of listening"),
 *       },
 *       positional: "pci",                    // words without a flag are values of this list (optional)
 *       examples: ["vdpactl serve --pci 00:04.0 --socket /tmp/vh.sock"],
 *       async run({ options, output, log, signal }) {
 *         options.pci;                        // readonly string[]   (list: empty when not given)
 *         options.queues;                     // number | undefined  (value)
 *         options.client;                     // boolean             (flag)
 *         output.print(record, () => "text"); // JSON with --json, else the text
 *         log.warn("one line on standard error", { event: "link_changed" });
 *         signal;                             // aborted by the first Ctrl-C; the exit code is then 130
 *         return 0;                           // the exit code, or nothing for 0
 *       },
 *     });
 *
 * Errors are thrown as OperatorError; its `kind` decides the exit code. Values come from the command line, else
 * from VDPACTL_<NAME>, else from the configuration file, and are checked before `run`. To add the verb to the
 * program, list it in src/commands/verbs.ts.
 */
export interface VerbSpec<O extends Options, T extends Options = Options> {
  readonly name: string;
  /** One line for the help, without a full stop. */
  readonly description: string;
  readonly options: O;
  /** The list option that words without a flag belong to; without it such words are errors. */
  readonly positional?: keyof O & string;
  readonly examples?: readonly string[];
  /** The verb can work on several of something, which only a configuration file can name. */
  readonly tables?: TableSpec<T>;
  /** @returns the exit code, or nothing for 0 */
  run(invocation: Invocation<O, T>): Promise<number | undefined> | number | undefined;
}

/** Repeated tables of a configuration file, `[[NAME]]`. */
export interface TableSpec<T extends Options> {
  readonly name: string;
  /** What a table may set. Elsewhere, the same options hold for all tables. */
  readonly options: T;
  /** Those that nothing but a table may set once there are tables. */
  readonly own: readonly (keyof T & string)[];
}

/** One repeated table, with what holds for it from elsewhere. */
export interface TableValues<T extends Options> {
  /** Where it stands, for messages: `[[device]] 2 in vdpactl.toml`. */
  readonly where: string;
  readonly options: OptionValues<T>;
}

/** What a verb gets to work with. */
export interface Invocation<O extends Options, T extends Options = Options> {
  readonly options: OptionValues<O>;
  /** Empty without a configuration file that has some. */
  readonly tables: readonly TableValues<T>[];
  readonly output: Output;
  readonly log: Log;
  /** Plain data to give to a worker, which makes its own log from it by `createLog`. */
  readonly logSettings: LogSettings;
  /**
   * Reads the configuration file again; the log's level is the new one then. Undefined without a file.
   * @throws OperatorError as at the start; nothing has changed then
   */
  readonly reread: (() => Promise<Pick<Invocation<O, T>, "options" | "tables">>) | undefined;
  /** Aborted by SIGINT. */
  readonly signal: AbortSignal;
}

// Verbs of all option types stand in one table.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Verb = VerbSpec<any, any>;

export function defineVerb<const O extends Options, const T extends Options = Options>(
  spec: VerbSpec<O, T>,
): VerbSpec<O, T> {
  return spec;
}

/** The verb as citty knows commands, for its help and its life cycle. The checked invocation comes as `data`. */
export function toCitty(verb: Verb, globals: Options, onResult: (code: number) => void): CommandDef {
  return defineCommand({
    meta: { name: `vdpactl ${verb.name}`, description: verb.description },
    args: { ...cittyArgs(verb.options), ...cittyArgs(globals) },
    async run({ data }) {
      onResult((await verb.run(data as Invocation<Options>)) ?? 0);
    },
  });
}

export function cittyArgs(options: Options): ArgsDef {
  const args: ArgsDef = {};
  for (const [name, option] of Object.entries(options)) {
    // citty writes every alias with one dash, so the long ones go into the text.
    const letters = (option.alias ?? []).filter((alias) => alias.length === 1);
    const long = (option.alias ?? []).filter((alias) => alias.length > 1);
    const notes = [
      ...long.map((alias) => `same as --${alias}`),
      ...(option.kind === "list" ? ["may be repeated"] : []),
    ];
    const description = option.description + (notes.length > 0 ? ` (${notes.join(", ")})` : "");
    args[name] =
      option.kind === "flag"
        ? { type: "boolean", alias: letters, description }
        : {
            type: "string",
            alias: letters,
            description,
            valueHint:
              option.kind === "value" && option.implied !== undefined ? `[${option.hint}]` : option.hint,
          };
  }
  return args;
}
