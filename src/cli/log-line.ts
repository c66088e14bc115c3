import type { LogEvent } from "../hw/log.ts";
import { oneLine, painter, type Style } from "./terminal.ts";

/** How a log looks and how much it says. Plain data, so that it can be sent to a worker. */
export interface LogSettings {
  readonly level: Verbosity;
  /** Where the level stands that holds now, for all threads that have these settings; `level` holds without it. */
  readonly current?: Int32Array<SharedArrayBuffer>;
  /** One line of text for each event, or one JSON object. */
  readonly format: LogFormat;
  readonly color: boolean;
  /** Begin lines with journald's priorities (sd-daemon(3)), which it takes off again. */
  readonly journald: boolean;
  /** What the lines are about; in front of their text where a process serves several. */
  readonly device?: { readonly name: string; readonly inText: boolean };
}

export type Verbosity = "quiet" | "normal" | "verbose";
export type LogFormat = "text" | "json";
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

const LOOKS: Record<LogLevel, { label: string; style?: Style; priority: number }> = {
  error: { label: "error: ", style: "red", priority: 3 },
  warn: { label: "warning: ", style: "yellow", priority: 4 },
  info: { label: "", priority: 6 },
  debug: { label: "debug: ", style: "dim", priority: 7 },
  trace: { label: "trace: ", style: "dim", priority: 7 },
};
/** A line stays readable, and one record of the journal, whatever a peer has sent. */
const MOST_CHARACTERS = 4000;

/** One event as one line, with its end. */
export function logLine(settings: LogSettings, level: LogLevel, text: string, event: LogEvent): string {
  const { format, color, journald, device } = settings;
  const { label, style, priority } = LOOKS[level];
  const front = journald ? `<${priority}>` : "";
  if (format === "json") return `${front}${jsonOf(level, text, event, device?.name)}\n`;
  const about = device?.inText ? `${device.name}: ` : "";
  // In the journal the priority says it already.
  const shown = journald || style === undefined ? "" : painter(color)(style, label);
  return `${front}${shown}${bounded(oneLine(about + text))}\n`;
}

function jsonOf(level: LogLevel, text: string, fields: LogEvent, of: string | undefined): string {
  const { event, device = of, ...rest } = fields;
  const time = new Date().toISOString();
  const record = { time, level, event, device, ...rest, text: bounded(oneLine(text)) };
  // JSON may hold the C1 controls and DEL as they are; a terminal would obey them.
  return JSON.stringify(record, (_, value) => (typeof value === "string" ? bounded(value) : value)).replace(
    /[\x7f-\x9f]/g,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
  );
}

const bounded = (text: string) =>
  text.length <= MOST_CHARACTERS
    ? text
    : `${text.slice(0, MOST_CHARACTERS)}… (${text.length - MOST_CHARACTERS} more characters)`;
