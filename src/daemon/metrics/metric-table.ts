import type { DeviceQueueState, DeviceState } from "../state/device-state.ts";

/** A metric that is defined once for each `Item`. docs/metrics.md lists them for operators. */
export interface Metric<Item> {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  /** Undefined or null where there is nothing to report. */
  readonly value: (item: Item) => number | boolean | null | undefined;
}

const counter = <Item>(name: string, help: string, value: Metric<Item>["value"]): Metric<Item> => ({
  name: `vdpactl_${name}_total`,
  type: "counter",
  help,
  value,
});
const gauge = <Item>(name: string, help: string, value: Metric<Item>["value"]): Metric<Item> => ({
  name: `vdpactl_${name}`,
  type: "gauge",
  help,
  value,
});

/** Milliseconds or microseconds as Prometheus' base unit. */
const seconds = (n: number | null | undefined, perSecond: number) =>
  n === null || n === undefined ? undefined : n / perSecond;

export const DEVICE_METRICS: readonly Metric<DeviceState>[] = [
  gauge("device_uptime_seconds", "Time since the daemon began to serve the device.", (d) => d.uptime_s),
  gauge("device_failed", "Whether the device is not served because it failed.", (d) => d.state === "failed"),
  gauge(
    "device_connected",
    "Whether a front-end is connected.",
    (d) => d.state === "connected" || d.state === "running",
  ),
  gauge("device_running", "Whether the device runs for a guest.", (d) => d.state === "running"),
  gauge(
    "device_link_up",
    "Whether the device's link is up, as far as it tells.",
    (d) => d.link && d.link === "up",
  ),
  gauge("device_mtu_bytes", "MTU that the front-end set.", (d) => d.mtu?.front_end),
  gauge("device_active_pairs", "Queue pairs that the device serves.", (d) => d.pairs?.active),
  gauge("device_memory_regions", "Regions of guest memory.", (d) => d.memory.regions),
  gauge(
    "device_memory_mapped_bytes",
    "Guest memory that is mapped for the device.",
    (d) => d.memory.mapped_bytes,
  ),
  gauge("device_memory_mapping_seconds", "What mapping the guest's memory took.", (d) =>
    seconds(d.memory.mapping_ms, 1e3),
  ),
  gauge("device_start_seconds", "What the device's last start took, up to DRIVER_OK.", (d) =>
    seconds(d.start_ms, 1e3),
  ),
  gauge("device_held_in_relay", "Whether the operator holds the rings in the relay.", (d) => d.held),
  gauge("device_logging", "Whether what the device writes is logged, as for a migration.", (d) => d.logging),
  gauge(
    "device_last_switch_seconds",
    "How long packets stood still at the last change between direct and relay mode.",
    (d) => seconds(d.last_switch?.gap_us, 1e6),
  ),
  counter("device_connections", "Front-ends that have connected.", (d) => d.counters.connections),
  counter(
    "device_refused_connections",
    "Front-ends turned away while another was connected.",
    (d) => d.counters.refused_connections,
  ),
  counter("device_messages", "Messages of front-ends.", (d) => d.counters.messages),
  counter("device_configures", "Starts of the device.", (d) => d.counters.configures),
  counter("device_resets", "Resets of the device.", (d) => d.counters.resets),
  counter(
    "device_config_interrupts",
    "Configuration interrupts of the device.",
    (d) => d.counters.config_interrupts,
  ),
  counter(
    "device_faults",
    "Errors from which the device could not recover.",
    (d) => d.counters.device_faults,
  ),
];

export const QUEUE_METRICS: readonly Metric<DeviceQueueState>[] = [
  gauge("queue_size_entries", "Entries of the ring.", (q) => q.size),
  gauge("queue_enabled", "Whether the ring is started and enabled.", (q) => q.started && q.enabled),
  gauge("queue_relayed", "Whether the ring's entries pass through the process.", (q) => q.mode === "relay"),
  gauge("queue_lag_entries", "Entries that are available and not used.", (q) => q.positions?.lag),
  gauge("queue_last_switch_seconds", "How long the queue stood still at its last change of mode.", (q) =>
    seconds(q.gap_us, 1e6),
  ),
  counter(
    "queue_entries",
    "Entries finished, in either mode, since sampling began.",
    (q) => q.traffic?.entries,
  ),
  gauge("queue_entries_exact", "Whether none of them can have been missed.", (q) => q.traffic?.exact),
  counter(
    "queue_kicks_relayed",
    "Kicks of the guest that the process passed on.",
    (q) => q.counters?.kicks_relayed,
  ),
  counter(
    "queue_calls_relayed",
    "Interrupts of the device that the process passed on.",
    (q) => q.counters?.calls_relayed,
  ),
  counter(
    "queue_relay_forwarded",
    "Entries that the relay gave to the device.",
    (q) => q.counters?.relay_forwarded,
  ),
  counter(
    "queue_relay_completed",
    "Entries that the relay gave back to the guest.",
    (q) => q.counters?.relay_completed,
  ),
  counter("queue_pages_logged", "Pages marked in the dirty log.", (q) => q.counters?.pages_logged),
  counter(
    "queue_log_failures",
    "Pages that could not be marked; a migration with any must fail.",
    (q) => q.counters?.log_failures,
  ),
  counter(
    "queue_anomalies",
    "Reports of the device that a correct one would not make.",
    (q) => q.counters?.anomalies,
  ),
  counter("queue_ring_faults", "Faults that stopped the relayed ring.", (q) => q.counters?.ring_faults),
  counter(
    "queue_mode_switches",
    "Changes between direct and relay mode while the ring ran.",
    (q) => q.counters?.mode_switches,
  ),
];
