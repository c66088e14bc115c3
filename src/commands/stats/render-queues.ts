import type { Output } from "../../cli/output.ts";
import type { DeviceQueueState } from "../../daemon/state/device-state.ts";
import type { RatedQueue } from "./rates.ts";
import { short, sparkline } from "./units.ts";

const HEADERS = [
  "QUEUE",
  "TYPE",
  "STATE",
  "SIZE",
  "MODE",
  "DOORBELL",
  "CALL",
  "VECTOR",
  "AVAIL",
  "USED",
  "LAG",
];
const TOTALS = ["RELAYED", "KICKS", "CALLS", "LOGGED", "LOG FAILURES", "ANOMALIES"];

const blankAsDash = (value: number | null | undefined) =>
  value === null || value === undefined ? "" : String(value);

function what(queue: DeviceQueueState): string[] {
  const { index, type, started, enabled, size, mode, doorbell, call, vector, positions } = queue;
  return [
    String(index),
    type,
    !started ? "stopped" : enabled ? "enabled" : "disabled",
    String(size),
    mode,
    doorbell,
    call,
    blankAsDash(vector),
    blankAsDash(positions?.avail),
    blankAsDash(positions?.used),
    blankAsDash(positions?.lag),
  ];
}

/** A line for each queue, with totals. */
export function renderQueues(queues: readonly DeviceQueueState[], output: Output): string {
  const rows = queues.map((queue) => {
    const { counters: c } = queue;
    const counts = c && [
      c.relay_completed,
      c.kicks_relayed,
      c.calls_relayed,
      c.pages_logged,
      c.log_failures,
      c.anomalies + c.ring_faults,
    ];
    return [...what(queue), ...(counts ? counts.map(String) : TOTALS.map(() => ""))];
  });
  return output.columns([...HEADERS, ...TOTALS], rows);
}

/** A line for each queue, with rates per second and how the rate of entries went. */
export function renderRates(
  queues: readonly RatedQueue[],
  history: ReadonlyMap<number, readonly number[]>,
  output: Output,
): string {
  const rows = queues
    .filter(({ type }) => type !== "control")
    .map((queue) => {
      const { per_second: rate } = queue;
      const cell = (n: number | null | undefined) => (n === null || n === undefined ? "" : short(n));
      const entries =
        rate && !rate.entries_exact && rate.entries !== null
          ? `≥${short(rate.entries)}`
          : cell(rate?.entries);
      const more = [
        entries,
        cell(rate?.relayed),
        cell(rate?.kicks),
        cell(rate?.calls),
        cell(rate?.pages_logged),
      ];
      return [...what(queue), ...more, sparkline(history.get(queue.index) ?? [])];
    });
  return output.columns([...HEADERS, "ENTRIES/s", "RELAYED/s", "KICKS/s", "CALLS/s", "LOGGED/s", ""], rows);
}
