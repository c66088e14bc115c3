// The lines that cross from the VM to the outside, one JSON record each, over a serial port of their own.

export type ResultLine =
  | { kind: "begin"; scenario: string; uptime: number }
  | { kind: "check"; name: string; ok: boolean; detail: string }
  | { kind: "note"; text: string }
  | { kind: "end"; passed: number; failed: number; uptime: number };

/** Undefined when the line is not a whole record, which the outside counts as a failure. */
export function parseResultLine(line: string): ResultLine | undefined {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof record !== "object" || record === null || !("kind" in record)) return undefined;
  const kinds = ["begin", "check", "note", "end"];
  return kinds.includes(String(record.kind)) ? (record as ResultLine) : undefined;
}
