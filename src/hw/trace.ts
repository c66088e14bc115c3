import type { LogEvent } from "./log.ts";

/**
 * Tells what passes a seam, one line each (`serve --trace`). Where nobody wants to know there is none, and the
 * undecorated objects are used: then nothing is even looked at.
 */
export type Trace = (text: string, event: LogEvent) => void;

/** What a line says in detail: the same for text and JSON. */
export interface TraceFields {
  readonly [key: string]: TraceValue;
}
export type TraceValue = string | number | boolean | TraceFields | readonly TraceValue[];

/** 64-bit values as JSON can hold them. */
export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** `index=0 flags=[LOG] region=(size=0x1000)`. */
export function fieldText(fields: TraceFields): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${valueText(value)}`)
    .join(" ");
}

function valueText(value: TraceValue): string {
  if (Array.isArray(value)) return `[${value.map(valueText).join(" ")}]`;
  return typeof value === "object" ? `(${fieldText(value as TraceFields)})` : String(value);
}
