import type { LogFormat, LogSettings } from "./log-line.ts";
import { variableOf } from "./resolve.ts";
import { isJournal, type TerminalEnvironment, wantsColor } from "./terminal.ts";

export const formatOf = (values: Record<string, unknown>): LogFormat =>
  values["log-format"] === "json" ? "json" : "text";

/** How to report an error of the command line itself; the configuration file may still be unread. */
export function earlyFormat(argv: readonly string[], env: TerminalEnvironment["env"]): LogFormat {
  const at = argv.findIndex((word) => word === "--log-format" || word.startsWith("--log-format="));
  const given = at < 0 ? env[variableOf("log-format")] : (argv[at]!.split("=")[1] ?? argv[at + 1]);
  return given === "json" ? "json" : "text";
}

export function logSettings(
  { level, noColor, format }: Pick<LogSettings, "level" | "format"> & { readonly noColor: boolean },
  surroundings: TerminalEnvironment,
): LogSettings {
  const color = wantsColor(2, surroundings, noColor);
  return { level, format, color, journald: isJournal(2, surroundings.env) };
}
