import { LiveRegion } from "../../cli/live-region.ts";
import type { Output } from "../../cli/output.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { pause } from "../control/pause.ts";
import type { Collector } from "./collect.ts";
import { type RatedDevice, rated } from "./rates.ts";
import { renderRates } from "./render-queues.ts";
import { span } from "./units.ts";
import { watchLine } from "./watch-line.ts";

/** Intervals that a sparkline shows. */
const HISTORY = 20;
/** A daemon samples rings for some seconds after it was asked: ask again before that ends. */
const REMINDER_MS = 2000;

const keyOf = ({ pid, device, meeting }: DeviceState) => `${pid} ${device} ${meeting.path}`;

/** Shows the devices once for each interval, until it is interrupted or nothing is served any more. */
export async function watch(
  collector: Collector,
  intervalMs: number,
  output: Output,
  signal: AbortSignal,
): Promise<number> {
  const live = new LiveRegion(output);
  const histories = new Map<string, Map<number, number[]>>();
  let before = new Map<string, DeviceState>();
  let due = performance.now();
  for (;;) {
    const states = await collector.collect({ rates: true, signal });
    const devices = states.map((state) => rated(state, before.get(keyOf(state))));
    // The first look has nothing to compare with.
    if (before.size > 0) show(devices, histories, live, output);
    before = new Map(states.map((state) => [keyOf(state), state]));
    due = Math.max(due + intervalMs, performance.now());
    for (let left = due - performance.now(); left > 0; left = due - performance.now()) {
      await pause(Math.min(left, REMINDER_MS), signal);
      if (left > REMINDER_MS) await collector.collect({ rates: true, signal });
    }
  }
}

function show(
  devices: readonly RatedDevice[],
  histories: Map<string, Map<number, number[]>>,
  live: LiveRegion,
  output: Output,
): void {
  if (output.isJson) {
    output.print(devices, () => "");
    return;
  }
  if (!output.settings.terminal) {
    output.write(devices.map((device) => watchLine(device) + "\n").join(""));
    return;
  }
  const tables = devices.map((device) => {
    const history = histories.get(keyOf(device)) ?? new Map<number, number[]>();
    histories.set(keyOf(device), history);
    for (const { index, per_second } of device.queues) {
      history.set(index, [...(history.get(index) ?? []), per_second?.entries ?? 0].slice(-HISTORY));
    }
    const head = `${output.paint("bold", device.device)}  ${device.state}  up ${span(device.uptime_s)}`;
    return `${head}\n${renderRates(device.queues, history, output)}`;
  });
  live.show(tables.join("\n"));
}
