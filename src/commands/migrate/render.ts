import type { Output } from "../../cli/output.ts";
import type { MigrationRecord } from "./record.ts";

/** `4.1 ms`, `830 µs`. */
export const duration = (us: number): string => (us < 1000 ? `${us} µs` : `${(us / 1000).toFixed(1)} ms`);

/** One line for each queue: how its entries travel, and what the last change took. */
export function renderQueues({ queues }: MigrationRecord, output: Output): string {
  return output.columns(
    ["QUEUE", "TYPE", "MODE", "SWITCHED IN", "RELAYED"],
    queues.map(({ index, type, mode, gap_us, relayed }) => [
      String(index),
      type,
      mode,
      gap_us === null ? "" : duration(gap_us),
      String(relayed),
    ]),
  );
}
