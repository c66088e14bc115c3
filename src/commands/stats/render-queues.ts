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

const stateOf = ({ started, enabled }: DeviceQueueState) =>
  !started ? "stopped" : enabled ? "enabled" : "disabled";

function what(queue: DeviceQueueState): string[] {
  const { index, type, size, mode, doorbell, call, vector, positions } = queue;
  return [
    String(index),
    type,
    stateOf(queue),
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

/** A line for each queue, with rates per second and how the rate of entries went. Narrow enough for a terminal. */
export function renderRates(
  queues: readonly RatedQueue[],
  history: ReadonlyMap<number, readonly number[]>,
  output: Output,
): string {
  const cell = (n: number | null | undefined) => (n === null || n === undefined ? "" : short(n));
  const rows = queues
    .filter(({ type }) => type !== "control")
    .map((queue) => {
      const { index, type, mode, positions, per_second: rate } = queue;
      const least = rate?.entries !== null && rate?.entries_exact === false ? "≥" : "";
      return [
        String(index),
        type,
        stateOf(queue),
        mode,
        blankAsDash(positions?.lag),
        `${least}${cell(rate?.entries)}`,
        sparkline(history.get(index) ?? []),
        cell(rate?.relayed),
        cell(rate?.kicks),
        cell(rate?.calls),
        cell(rate?.pages_logged),
      ];
    });
  const headers = [
    "QUEUE",
    "TYPE",
    "STATE",
    "MODE",
    "LAG",
    "ENTRIES/s",
    "TREND",
    "RELAYED/s",
    "KICKS",
    "CALLS",
    "LOGGED",
  ];
  return output.columns(headers, rows);
}
