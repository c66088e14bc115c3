import type { DeviceQueueState, DeviceState } from "../../daemon/state/device-state.ts";

/** What happened on a queue per second, between two looks. */
export interface QueueRates {
  /** Entries finished; null where the ring could not be sampled. */
  readonly entries: number | null;
  /** False when there may have been more entries than were seen. */
  readonly entries_exact: boolean;
  readonly relayed: number;
  readonly kicks: number;
  readonly calls: number;
  readonly pages_logged: number;
}

export interface RatedQueue extends DeviceQueueState {
  /** Null without an earlier look. */
  readonly per_second: QueueRates | null;
}

export interface RatedDevice extends DeviceState {
  readonly queues: readonly RatedQueue[];
}

/** The state with rates, compared to the same device's state before. */
export function rated(now: DeviceState, before: DeviceState | undefined): RatedDevice {
  const seconds = before ? (Date.parse(now.time) - Date.parse(before.time)) / 1000 : 0;
  const queues = now.queues.map((queue) => {
    const old = before?.queues.find(({ index }) => index === queue.index);
    return { ...queue, per_second: old && seconds > 0 ? ratesOf(queue, old, seconds) : null };
  });
  return { ...now, queues };
}

function ratesOf(now: DeviceQueueState, old: DeviceQueueState, seconds: number): QueueRates | null {
  if (!now.counters || !old.counters) return null;
  // What begins anew, begins at 0.
  const rate = (value: number, earlier: number) =>
    Math.round((value >= earlier ? value - earlier : value) / seconds);
  const of = (name: keyof typeof now.counters) => rate(now.counters![name], old.counters![name]);
  const sampled = now.traffic && old.traffic;
  return {
    entries: sampled ? rate(now.traffic.entries, old.traffic.entries) : null,
    entries_exact: sampled ? now.traffic.exact : false,
    relayed: of("relay_completed"),
    kicks: of("kicks_relayed"),
    calls: of("calls_relayed"),
    pages_logged: of("pages_logged"),
  };
}
