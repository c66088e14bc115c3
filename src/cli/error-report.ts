import { OperatorError } from "../hw/operator-error.ts";
import { EXIT } from "./exit-code.ts";
import { type LogSettings, logLine } from "./log-line.ts";
import { oneLine, painter } from "./terminal.ts";

export interface ErrorReport {
  readonly text: string;
  readonly exitCode: number;
}

/**
 * An error as an operator sees it: what, why, and the next thing to do, each on a line of its own. In the journal and
 * as JSON it is one line like those of the log. Unexpected errors show their origin too. `command` is the command as far
 * as it was understood: its help is the next thing to read after a mistake in it.
 */
export function reportError(error: unknown, settings: LogSettings, command: string): ErrorReport {
  const exitCode = error instanceof OperatorError ? EXIT[error.kind] : EXIT.failed;
  if (settings.format === "json" || settings.journald) {
    return { text: asLogLine(error, exitCode, settings, command), exitCode };
  }
  const paint = painter(settings.color);
  const verbose = settings.level === "verbose";
  const label = paint("red", "error:");
  if (!(error instanceof OperatorError)) {
    const hint = verbose
      ? ""
      : `  this is a fault of vdpactl; ${paint("bold", "-v")} shows where it happened\n`;
    const text = verbose ? originOf(error) : oneLine(nameOf(error));
    return { text: `${label} ${text}\n${hint}`, exitCode };
  }
  const why = error.why ? `  why: ${oneLine(error.why)}\n` : "";
  const next = nextStep(error, command);
  const remedy = next ? `  try: ${paint("bold", oneLine(next))}\n` : "";
  const stack = verbose && error.stack ? paint("dim", error.stack) + "\n" : "";
  return { text: `${label} ${oneLine(error.what)}\n${why}${remedy}${stack}`, exitCode };
}

function asLogLine(error: unknown, exitCode: number, settings: LogSettings, command: string): string {
  const stack = settings.level === "verbose" ? { stack: originOf(error) } : {};
  const event = "command_failed";
  if (!(error instanceof OperatorError)) {
    const text = `${nameOf(error)}; this is a fault of vdpactl`;
    return logLine(settings, "error", text, { event, error: nameOf(error), exit_code: exitCode, ...stack });
  }
  const { what, why: reason, message } = error;
  const remedy = nextStep(error, command);
  return logLine(settings, "error", remedy ? `${message}; try: ${remedy}` : message, {
    event,
    error: what,
    ...(reason === undefined ? {} : { reason }),
    ...(remedy === undefined ? {} : { remedy }),
    exit_code: exitCode,
    ...stack,
  });
}

function nextStep({ kind, remedy }: OperatorError, command: string): string | undefined {
  return remedy ?? (kind === "usage" ? `${command} --help` : undefined);
}

const nameOf = (error: unknown) =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error);

const originOf = (error: unknown) => (error instanceof Error && error.stack ? error.stack : String(error));
