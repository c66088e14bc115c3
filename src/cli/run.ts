import { runCommand } from "citty";
import { parseArguments, usageError } from "./arguments.ts";
import { reportError } from "./error-report.ts";
import { EXIT } from "./exit-code.ts";
import { GLOBALS, PROGRAM } from "./globals.ts";
import { interruptSignal } from "./interrupt.ts";
import { changeable, changeLevel, createLog, type Verbosity } from "./log.ts";
import { earlyFormat, formatOf, logSettings } from "./log-settings.ts";
import { nearest } from "./nearest.ts";
import type { Options } from "./options.ts";
import { Output } from "./output.ts";
import { environmentSource, type RawValues, resolveOptions, type Source } from "./resolve.ts";
import { resolveTables } from "./tables.ts";
import { BrokenPipe, type TerminalEnvironment, wantsColor, writeNow } from "./terminal.ts";
import { type Invocation, type TableValues, toCitty, type Verb } from "./verb.ts";
import { isGroup, pickVerb, type VerbGroup, type VerbTable } from "./verb-group.ts";

export type { VerbTable } from "./verb-group.ts";

/** The outside world of a run; tests bring their own. */
export interface Surroundings extends TerminalEnvironment {
  /** Writes all of it at once; throws BrokenPipe when nobody reads. */
  write(fd: 1 | 2, text: string): void;
}

export const realSurroundings: Surroundings = {
  env: process.env,
  isTerminal: (fd) => (fd === 1 ? process.stdout.isTTY : process.stderr.isTTY) === true,
  write: writeNow,
};

/**
 * Runs one command line to its end.
 * @returns the exit code; every error has been shown by then
 */
export async function runCli(
  argv: readonly string[],
  verbs: VerbTable,
  version: string,
  surroundings: Surroundings = realSurroundings,
): Promise<number> {
  // Errors of the command line itself come before its flags are known.
  let verbose = false;
  let noColor = argv.includes("--no-color");
  let command = "vdpactl";
  let format = earlyFormat(argv, surroundings.env);
  try {
    const program = parseArguments(argv, PROGRAM, { untilWord: true });
    verbose = program.given.has("verbose");
    if (program.given.has("version")) {
      surroundings.write(1, `vdpactl ${version}\n`);
      return EXIT.ok;
    }
    const [name, ...rest] = program.words.length > 0 ? program.words : program.rest;
    if (name === undefined)
      return await showProgramUsage(verbs, program.given.has("help"), surroundings, noColor);
    const named = await loadVerb(name, verbs);
    command = `vdpactl ${named.name}`;
    const picked = isGroup(named)
      ? pickVerb(named, program.given, rest)
      : { verb: named, given: program.given, rest };
    const { verb } = picked;
    if (!verb) return await showGroupUsage(named, picked.given.has("help"), surroundings, noColor);
    command = `vdpactl ${verb.name}`;
    const prepared = await prepare(verb, picked.given, picked.rest, Object.keys(verbs), surroundings);
    if (prepared.values["help"]) {
      const { verbUsage } = await import("./usage.ts");
      showHelp(1, await verbUsage(verb, GLOBALS), surroundings, noColor);
      return EXIT.ok;
    }
    verbose = prepared.values["verbose"] === true;
    noColor = prepared.values["no-color"] === true;
    format = formatOf(prepared.values);
    const again = () => prepare(verb, picked.given, picked.rest, Object.keys(verbs), surroundings);
    return await runVerb(verb, prepared, again, surroundings);
  } catch (error) {
    if (error instanceof BrokenPipe) return EXIT.ok;
    const level = verbose ? "verbose" : "normal";
    const { text, exitCode } = reportError(
      error,
      logSettings({ level, noColor, format }, surroundings),
      command,
    );
    try {
      surroundings.write(2, text);
    } catch (writeError) {
      if (!(writeError instanceof BrokenPipe)) throw writeError;
    }
    return exitCode;
  }
}

async function loadVerb(name: string, verbs: VerbTable): Promise<Verb | VerbGroup> {
  const load = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (load) return await load();
  const near = nearest(name, Object.keys(verbs));
  throw usageError(`unknown command "${name}"`, near && `did you mean ${near}?`);
}

/** A verb's values, checked. */
interface Prepared {
  readonly values: Record<string, unknown>;
  readonly tables: readonly TableValues<Options>[];
}

/** Collects a verb's values from the command line, the environment and the configuration file. */
async function prepare(
  verb: Verb,
  before: RawValues,
  argv: readonly string[],
  verbNames: readonly string[],
  { env }: Surroundings,
): Promise<Prepared> {
  const options: Options = { ...verb.options, ...GLOBALS };
  const { given, words } = parseArguments(argv, options, { command: `vdpactl ${verb.name}` });
  const all = new Map<string, readonly string[]>([...before, ...given]);
  if (words.length > 0) {
    if (!verb.positional)
      throw usageError(`unexpected word "${words[0]}"`, undefined, `vdpactl ${verb.name} --help`);
    all.set(verb.positional, [...(all.get(verb.positional) ?? []), ...words]);
  }
  if (all.has("help")) return { values: { help: true }, tables: [] };
  const fromArguments: Source = { values: all, spell: (name) => `--${name}` };
  const fromEnvironment = environmentSource(options, env);
  const path = all.get("config")?.[0] ?? fromEnvironment.values.get("config")?.[0];
  const sources = [fromArguments, fromEnvironment];
  if (path === undefined) return { values: resolveOptions(options, sources), tables: [] };
  const { readConfigFile } = await import("./config-file.ts");
  const { config: _config, help: _help, ...settable } = options;
  const file = readConfigFile(path, verb.name, verbNames, settable, verb.tables);
  return {
    values: resolveOptions(options, [...sources, file.source]),
    tables: verb.tables ? resolveTables(verb.tables, sources, file) : [],
  };
}

async function runVerb(
  verb: Verb,
  { values, tables }: Prepared,
  again: () => Promise<Prepared>,
  surroundings: Surroundings,
): Promise<number> {
  const noColor = values["no-color"] === true;
  const settings = changeable(
    logSettings({ level: levelOf(values), noColor, format: formatOf(values) }, surroundings),
  );
  const output = new Output(
    {
      format: values["pretty"] ? "pretty" : values["json"] ? "json" : "text",
      color: wantsColor(1, surroundings, noColor),
      terminal: surroundings.isTerminal(1),
    },
    (text) => surroundings.write(1, text),
  );
  const interrupt = interruptSignal();
  const data: Invocation<Options> = {
    options: values as Invocation<Options>["options"],
    tables,
    output,
    log: createLog(settings, (line) => surroundings.write(2, line)),
    logSettings: settings,
    reread:
      values["config"] === undefined
        ? undefined
        : async () => {
            const { values: options, tables } = await again();
            changeLevel(settings, levelOf(options));
            return { options: options as Invocation<Options>["options"], tables };
          },
    signal: interrupt.signal,
  };
  let code: number = EXIT.ok;
  try {
    const command = toCitty(verb, GLOBALS, (result) => {
      code = result;
    });
    await runCommand(command, { rawArgs: [], data });
    return interrupt.signal.aborted ? EXIT.interrupted : code;
  } catch (error) {
    if (interrupt.signal.aborted && error === interrupt.signal.reason) return EXIT.interrupted;
    throw error;
  } finally {
    interrupt.stop();
  }
}

const levelOf = (values: Prepared["values"]): Verbosity =>
  values["quiet"] ? "quiet" : values["verbose"] ? "verbose" : "normal";

async function showProgramUsage(
  verbs: VerbTable,
  asked: boolean,
  surroundings: Surroundings,
  noColor: boolean,
): Promise<number> {
  const { programUsage } = await import("./usage.ts");
  const loaded = await Promise.all(Object.values(verbs).map((load) => load()));
  showHelp(asked ? 1 : 2, await programUsage(loaded, PROGRAM), surroundings, noColor);
  return asked ? EXIT.ok : EXIT.usage;
}

async function showGroupUsage(
  group: Verb | VerbGroup,
  asked: boolean,
  surroundings: Surroundings,
  noColor: boolean,
): Promise<number> {
  const { groupUsage } = await import("./usage.ts");
  showHelp(asked ? 1 : 2, await groupUsage(group as VerbGroup, GLOBALS), surroundings, noColor);
  return asked ? EXIT.ok : EXIT.usage;
}

function showHelp(fd: 1 | 2, usage: string, surroundings: Surroundings, noColor: boolean): void {
  surroundings.write(fd, wantsColor(fd, surroundings, noColor) ? usage : Bun.stripANSI(usage));
}
