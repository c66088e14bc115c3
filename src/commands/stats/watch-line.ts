import type { RatedDevice, RatedQueue } from "./rates.ts";

/** One line for a device and an interval: `2026-01-01T00:00:00.000Z sim running rx 1000/s tx 990/s relayed 0/s …`. */
export function watchLine({ time, device, state, queues }: RatedDevice): string {
  const sum = (type: "rx" | "tx") => {
    const rates = queues.filter((queue) => queue.type === type).map(({ per_second }) => per_second?.entries);
    const known = rates.filter((rate) => rate !== null && rate !== undefined);
    return known.length < rates.length || known.length === 0 ? "-" : `${known.reduce((a, b) => a + b, 0)}/s`;
  };
  const total = (of: (queue: RatedQueue) => number | undefined) =>
    queues.reduce((all, queue) => all + (of(queue) ?? 0), 0);
  return [
    time,
    device,
    state,
    `rx ${sum("rx")}`,
    `tx ${sum("tx")}`,
    `relayed ${total((q) => q.per_second?.relayed)}/s`,
    `logged ${total((q) => q.per_second?.pages_logged)}/s`,
    `log failures ${total((q) => q.counters?.log_failures)}`,
  ].join(" ");
}
