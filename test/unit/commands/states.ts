import type { DeviceQueueState, DeviceState } from "../../../src/daemon/state/device-state.ts";
import { QUEUE_COUNTERS, type QueueCounterName } from "../../../src/vdpa/counters.ts";

/** A running ring, as a daemon shows it. */
export function queueOf(
  over: Partial<DeviceQueueState> = {},
  counters: Partial<Record<QueueCounterName, number>> = {},
): DeviceQueueState {
  const zeros = Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, 0])) as Record<
    QueueCounterName,
    number
  >;
  return {
    index: 0,
    type: "rx",
    size: 256,
    started: true,
    enabled: true,
    mode: "direct",
    doorbell: "ioeventfd",
    vector: 1,
    call: "direct",
    layout: "split",
    positions: { avail: 300, avail_wrap: null, used: 100, used_wrap: null, lag: 200 },
    traffic: null,
    gap_us: null,
    counters: { ...zeros, ...counters },
    ...over,
  };
}

/** A running device, as a daemon shows it. */
export function deviceOf(over: Partial<DeviceState> = {}): DeviceState {
  return {
    device: "0000:00:04.0",
    type: "net",
    pid: 4711,
    time: "2026-01-01T00:00:00.000Z",
    uptime_s: 12.3,
    meeting: { role: "server", path: "/tmp/vh.sock", fd: null },
    state: "running",
    failure: null,
    reconnects: 0,
    refused_messages_by_kind: {},
    counters: {
      connections: 1,
      refused_connections: 0,
      messages: 40,
      refused_messages: 0,
      configures: 1,
      resets: 1,
      config_interrupts: 0,
      device_faults: 0,
    },
    features: { device: ["MQ", "RING_RESET"], offered: ["MQ"], negotiated: ["MQ"] },
    protocol_features: ["MQ", "REPLY_ACK"],
    status: ["DRIVER_OK"],
    link: "up",
    mac: "52:54:00:00:00:01",
    mtu: { device: 1500, front_end: null },
    pairs: { device: 8, active: 1 },
    memory: { regions: 2, mapped_bytes: 96 * 2 ** 20, mapping_ms: 3.5 },
    start_ms: 4.5,
    held: false,
    logging: false,
    datapath: "auto",
    last_switch: null,
    queues: [queueOf(), queueOf({ index: 1, type: "tx" })],
    ...over,
  };
}
