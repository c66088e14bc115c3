import type { DeviceQueueState, DeviceState } from "../state/device-state.ts";
import { DEVICE_METRICS, type Metric, QUEUE_METRICS } from "./metric-table.ts";

type Labels = Readonly<Record<string, string | number>>;
type Labelled<Item> = readonly (readonly [labels: Labels, item: Item])[];

/** Content type of the text format. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The devices' state in Prometheus' text format (0.0.4): each metric's HELP and TYPE, then its samples. */
export function prometheusText(devices: readonly DeviceState[]): string {
  const items: Labelled<DeviceState> = devices.map((state) => [labelsOf(state), state]);
  const queues: Labelled<DeviceQueueState> = devices.flatMap((state) =>
    state.queues.map(
      (queue) => [{ ...labelsOf(state), queue: queue.index, type: queue.type }, queue] as const,
    ),
  );
  return [
    ...info(items),
    ...DEVICE_METRICS.flatMap((metric) => family(metric, items)),
    ...refusedMessages(items),
    ...QUEUE_METRICS.flatMap((metric) => family(metric, queues)),
  ]
    .map((line) => `${line}\n`)
    .join("");
}

/** Several processes may serve a simulated device each; their sockets tell them apart. */
const labelsOf = ({ device, meeting }: DeviceState): Labels => ({ device, socket: meeting.path ?? "" });

function info(items: Labelled<DeviceState>): string[] {
  return [
    ...head("vdpactl_device_info", "gauge", "The device and where its front-end is met."),
    ...items.map(([labels, { type, meeting, mac, pid }]) =>
      sample("vdpactl_device_info", { ...labels, type, role: meeting.role, pid, mac: mac ?? "" }, 1),
    ),
  ];
}

function refusedMessages(items: Labelled<DeviceState>): string[] {
  const name = "vdpactl_device_refused_messages_total";
  return [
    ...head(name, "counter", "Messages that were not carried out, by kind."),
    ...items.flatMap(([labels, { refused_messages_by_kind }]) =>
      Object.entries(refused_messages_by_kind).map(([message, n]) => sample(name, { ...labels, message }, n)),
    ),
  ];
}

function family<Item>({ name, type, help, value }: Metric<Item>, items: Labelled<Item>): string[] {
  const samples = items.flatMap(([labels, item]) => {
    const number = value(item);
    return number === null || number === undefined ? [] : [sample(name, labels, Number(number))];
  });
  return samples.length > 0 ? [...head(name, type, help), ...samples] : [];
}

const head = (name: string, type: string, help: string) => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
];

function sample(name: string, labels: Labels, value: number): string {
  const list = Object.entries(labels).map(([label, text]) => `${label}="${escaped(String(text))}"`);
  return `${name}{${list.join(",")}} ${value}`;
}

const escaped = (text: string) => text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
