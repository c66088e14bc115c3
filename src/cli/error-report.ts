import { OperatorError } from "../hw/operator-error.ts";
import { EXIT } from "./exit-code.ts";
import { oneLine, type Paint } from "./terminal.ts";

export interface ErrorReport {
  readonly text: string;
  readonly exitCode: number;
}

/** What a report depends on besides the error. */
export interface ReportSettings {
  readonly paint: Paint;
  readonly verbose: boolean;
  /** As far as it was understood: its help is the next thing to read after a mistake in it. */
  readonly command: string;
}

/** An error as an operator sees it: what, why, and the next thing to do. Unexpected errors show their origin too. */
export function reportError(error: unknown, { paint, verbose, command }: ReportSettings): ErrorReport {
  const label = paint("red", "error:");
  if (!(error instanceof OperatorError)) {
    const stack = error instanceof Error && error.stack ? error.stack : String(error);
    const hint = verbose
      ? ""
      : `  this is a fault of vdpactl; ${paint("bold", "-v")} shows where it happened\n`;
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { text: `${label} ${verbose ? stack : oneLine(text)}\n${hint}`, exitCode: EXIT.failed };
  }
  const why = error.why ? `  why: ${oneLine(error.why)}\n` : "";
  const next = error.remedy ?? (error.kind === "usage" ? `${command} --help` : undefined);
  const remedy = next ? `  try: ${paint("bold", oneLine(next))}\n` : "";
  const stack = verbose && error.stack ? paint("dim", error.stack) + "\n" : "";
  return { text: `${label} ${oneLine(error.what)}\n${why}${remedy}${stack}`, exitCode: EXIT[error.kind] };
}
