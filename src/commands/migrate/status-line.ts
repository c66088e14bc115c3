import type { MigrationRecord } from "./record.ts";

/** What there is to say when the phase or a queue's mode changes: `0000:00:04.0 prepared: 0 rx relay, 1 tx relay`. */
export function phaseLine({ device, phase, queues }: MigrationRecord): string {
  const modes = queues.map(({ index, type, mode }) => `${index} ${type} ${mode}`).join(", ");
  return `${device} ${phase}${modes && `: ${modes}`}`;
}

/** The same with what moves: pages logged and entries relayed, in all and per second. */
export function statusLine(
  record: MigrationRecord,
  before: MigrationRecord,
  { seconds, total }: { readonly seconds: number; readonly total: number },
): string {
  const rate = (of: (record: MigrationRecord) => number) =>
    Math.max(0, Math.round((of(record) - of(before)) / Math.max(seconds, 0.001)));
  const pages = `${record.pages_logged} pages logged (${rate((r) => r.pages_logged)}/s)`;
  const relayed = `${record.relayed} relayed (${rate((r) => r.relayed)}/s)`;
  const failures = record.log_failures > 0 ? `, ${record.log_failures} log failures` : "";
  return `${phaseLine(record)}; ${pages}${failures}; ${relayed}; ${total.toFixed(0)} s`;
}
