import type { Output } from "../../cli/output.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { duration } from "../migrate/render.ts";
import { renderQueues } from "./render-queues.ts";
import { bytes, span } from "./units.ts";

/** Everything about one device, with a line for each queue. */
export function renderDevice(state: DeviceState, output: Output): string {
  const { paint } = output;
  const { device, type, pid, uptime_s, meeting, memory, counters, last_switch } = state;
  const where = meeting.path ?? (meeting.fd === null ? "" : `fd ${meeting.fd}`);
  const lines: [string, string][] = [
    ...(state.failure ? ([["failure", state.failure]] as [string, string][]) : []),
    ["front-end", `${where} (${meeting.role}), ${connections(state)}`],
    [
      "link",
      [state.link ?? "not known", state.mac && `mac ${state.mac}`, mtu(state), pairs(state)]
        .filter(Boolean)
        .join(", "),
    ],
    ["features", state.features.negotiated.join(" ")],
    ["protocol", state.protocol_features.join(" ")],
    ["status", state.status.join(" ")],
    [
      "memory",
      `${memory.regions} regions, ${bytes(memory.mapped_bytes)}, mapped in ${duration(Math.round(memory.mapping_ms * 1000))}`,
    ],
    ["start", state.start_ms === null ? "" : `${duration(Math.round(state.start_ms * 1000))} to DRIVER_OK`],
    [
      "device",
      `${counters.configures} starts, ${counters.resets} resets, ${counters.config_interrupts} config interrupts, ${counters.device_faults} faults`,
    ],
    ["messages", `${counters.messages}, ${counters.refused_messages} refused${kinds(state)}`],
    [
      "relay",
      [state.held && "held (migrate prepare)", state.logging && "logging", lastSwitch(last_switch)]
        .filter(Boolean)
        .join(", "),
    ],
  ];
  const head = `${paint("bold", device)}  ${type}  ${state.state}  pid ${pid}  up ${span(uptime_s)}`;
  const details = lines.map(([name, text]) => `  ${paint("dim", name.padEnd(10))}${text || "-"}`);
  return [head, ...details, renderQueues(state.queues, output)].join("\n");
}

function connections({ counters, reconnects }: DeviceState): string {
  return `${counters.connections} connections, ${reconnects} reconnects, ${counters.refused_connections} turned away`;
}

const mtu = ({ mtu }: DeviceState) =>
  mtu && `mtu up to ${mtu.device}${mtu.front_end === null ? "" : `, front-end ${mtu.front_end}`}`;
const pairs = ({ pairs }: DeviceState) => pairs && `${pairs.active} of ${pairs.device} pairs active`;

function kinds({ refused_messages_by_kind: refused }: DeviceState): string {
  const list = Object.entries(refused).map(([name, n]) => `${name} ${n}`);
  return list.length > 0 ? ` (${list.join(", ")})` : "";
}

function lastSwitch(change: DeviceState["last_switch"]): string {
  if (!change) return "";
  const what = change.queue === null ? "all queues" : `queue ${change.queue}`;
  return `last switch: ${what} to ${change.to} in ${duration(change.gap_us)}`;
}
