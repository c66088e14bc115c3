import type { Paint } from "../../cli/terminal.ts";
import type { BarRecord, CapabilityRecord, DeviceRecord } from "./record.ts";

/** Everything about one device, in the look of `lspci -vv`. */
export function renderDetail(record: DeviceRecord, paint: Paint): string {
  const { bdf, vendor_name, device_name, vendor_id, device_id, revision } = record;
  const title = `${bdf} ${vendor_name} ${device_name} [${vendor_id}:${device_id}] (rev ${hex(revision, 2)})`;
  return [paint("bold", title), ...body(record, paint)].join("\n") + "\n";
}

function body(record: DeviceRecord, paint: Paint): string[] {
  return [
    `Virtio: ${record.type} (type ${record.type_id}), ${record.layout ?? "unknown"} registers`,
    `Driver: ${driverText(record)}`,
    `State: ${[record.state, ...record.used_by].join("; ")}`,
    `IOMMU group: ${record.iommu_group ?? "none"}`,
    ...(record.vfio === null ? [] : [`VFIO: ${VFIO_TEXT[record.vfio]}`]),
    ...(record.numa_node === null ? [] : [`NUMA node: ${record.numa_node}`]),
    ...record.bars.map(barText),
    ...(record.capabilities?.flatMap(capabilityLines) ?? ["Capabilities: <access denied>"]),
    ...featureLines(record),
    ...(record.config ? [`Config: ${configText(record.config)}`] : []),
    `Queues: ${record.queues ?? "unknown"}${record.queue_size === null ? "" : ` of ${record.queue_size} entries`}; MSI-X vectors: ${record.msix_vectors ?? "unknown"}; RING_RESET: ${yesNo(record.ring_reset)}; doorbell: ${record.doorbell ?? "unknown"}`,
    ...(record.note === null ? [] : [`Registers were not read: ${record.note}`]),
    ...obstacleLines(record, paint),
  ].map((line) => `\t${line}`);
}

const VFIO_TEXT = {
  iommufd: "by the device's own node and iommufd",
  group: "by IOMMU group and container",
} as const;

function driverText({ driver, virtio_driver, interfaces }: DeviceRecord): string {
  if (driver === null) return "none";
  const inner = [virtio_driver, ...interfaces].filter((name) => name !== null);
  return inner.length > 0 ? `${driver} (${inner.join(", ")})` : driver;
}

function barText({ bar, kind, start, size, is_64bit, prefetchable }: BarRecord): string {
  const address = start.slice(2);
  if (kind === "io") return `Region ${bar}: I/O ports at ${address} [size=${size}]`;
  const width = is_64bit ? "64-bit" : "32-bit";
  return `Region ${bar}: Memory at ${address} (${width}, ${prefetchable ? "" : "non-"}prefetchable) [size=${sizeText(size)}]`;
}

function capabilityLines({ at, name, values }: CapabilityRecord): string[] {
  const title = `Capabilities: [${hex(at, 2)}] ${name}`;
  const number = (key: string) => Number(values[key]);
  if (name === "MSI-X") {
    return [
      `${title}: Enable${values["enabled"] ? "+" : "-"} Count=${values["table_size"]}`,
      `\tVector table: BAR=${values["table_bar"]} offset=${hex(number("table_offset"), 8)}`,
      `\tPBA: BAR=${values["pba_bar"]} offset=${hex(number("pba_offset"), 8)}`,
    ];
  }
  if (values["vendor_id"] !== undefined) return [title, `\tVendor=${hex(number("vendor_id"), 4)}`];
  if (values["cfg_type"] === undefined) return [title];
  const multiplier = values["notify_off_multiplier"];
  const tail = multiplier === undefined ? "" : ` multiplier=${hex(Number(multiplier), 8)}`;
  const place = `BAR=${values["bar"]} offset=${hex(number("offset"), 8)} size=${hex(number("length"), 8)}`;
  return [title, `\t${place}${tail}`];
}

function featureLines({ features }: DeviceRecord): string[] {
  if (!features)
    return ["Features: unknown (no virtio driver of the kernel has it, and its registers were not read)"];
  const source =
    features.source === "device" ? "offered" : "accepted by the kernel's driver; the device may offer more";
  return [`Features: ${features.mask} (${source})`, ...wrap(features.names, 96).map((line) => `\t${line}`)];
}

/** Joins words with blanks into lines of at most `width` characters. */
function wrap(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

const configText = (config: NonNullable<DeviceRecord["config"]>) =>
  Object.entries(config)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");

function obstacleLines({ obstacles }: DeviceRecord, paint: Paint): string[] {
  if (obstacles.length === 0) return [`In the way: ${paint("green", "nothing")}`];
  return obstacles.flatMap(({ text, remedy }) => [
    `In the way: ${paint("yellow", text)}`,
    ...(remedy === null ? [] : [`\ttry: ${remedy}`]),
  ]);
}

const yesNo = (value: boolean | null) => (value === null ? "unknown" : value ? "yes" : "no");
const hex = (value: number, width: number) => value.toString(16).padStart(width, "0");

function sizeText(bytes: number): string {
  for (const [unit, shift] of [
    ["G", 30],
    ["M", 20],
    ["K", 10],
  ] as const) {
    if (bytes >= 2 ** shift && bytes % 2 ** shift === 0) return `${bytes / 2 ** shift}${unit}`;
  }
  return String(bytes);
}
