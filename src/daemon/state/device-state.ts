import { featureNames } from "../../hw/virtio/feature-names.ts";
import { statusNames } from "../../hw/virtio/status.ts";
import type { Counters, DeviceCounterName, QueueCounterName } from "../../vdpa/counters.ts";
import {
  protocolFeatureNames,
  VHOST_F_LOG_ALL,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from "../../vhost-user/protocol.ts";
import type { Meeting } from "../messages.ts";
import type { DeviceReport, ModeSwitch, QueueReport } from "./device-report.ts";
import { type RingPositions, readPositions } from "./ring-position.ts";
import type { StateBoard } from "./state-board.ts";
import type { Traffic, TrafficSampler } from "./traffic-sampler.ts";

/** What a daemon tells of one device. These are the keys of the JSON of `stats` too (docs/cli.md). */
export interface DeviceState {
  /** Full BDF, or `sim`. */
  readonly device: string;
  readonly type: "net";
  readonly pid: number;
  /** When this was so, ISO 8601. */
  readonly time: string;
  readonly uptime_s: number;
  readonly meeting: {
    readonly role: Meeting["role"];
    readonly path: string | null;
    readonly fd: number | null;
  };
  /**
   * `starting` until the device is open; `failed` while it is not served for the reason in `failure`; `ended` once the
   * only front-end that could come has gone.
   */
  readonly state: "starting" | "waiting" | "connected" | "running" | "failed" | "ended";
  readonly failure: string | null;
  readonly reconnects: number;
  readonly refused_messages_by_kind: Readonly<Record<string, number>>;
  readonly counters: Readonly<Record<DeviceCounterName, number>>;
  readonly features: {
    readonly device: readonly string[];
    readonly offered: readonly string[];
    readonly negotiated: readonly string[];
  };
  readonly protocol_features: readonly string[];
  readonly status: readonly string[];
  readonly link: "up" | "down" | null;
  readonly mac: string | null;
  readonly mtu: { readonly device: number; readonly front_end: number | null } | null;
  readonly pairs: { readonly device: number; readonly active: number } | null;
  readonly memory: DeviceReport["memory"];
  readonly start_ms: number | null;
  readonly held: boolean;
  readonly logging: boolean;
  /** Null while the device is not served. */
  readonly datapath: DeviceReport["datapath"] | null;
  readonly last_switch: ModeSwitch | null;
  readonly queues: readonly DeviceQueueState[];
}

export interface DeviceQueueState {
  readonly index: number;
  readonly type: "rx" | "tx" | "control";
  readonly size: number;
  readonly started: boolean;
  readonly enabled: boolean;
  /** `own`: the device's control queue, whose ring is vdpactl's. */
  readonly mode: "direct" | "relay" | "own";
  readonly doorbell: QueueReport["doorbell"];
  /** MSI-X vector; null for none. */
  readonly vector: number | null;
  readonly call: QueueReport["call"];
  readonly layout: "split" | "packed";
  /** Null when the ring could not be read, for example as its memory was just changing. */
  readonly positions: RingPositions | null;
  /** Entries finished since somebody began to ask for rates; null while nobody does. */
  readonly traffic: Traffic | null;
  readonly gap_us: number | null;
  readonly counters: Readonly<Record<QueueCounterName, number>> | null;
}

/** A device of this process, seen from the main thread. */
export interface ShownDevice {
  /** Until its state is known; the guest may move to another one later. */
  readonly name: string;
  readonly meeting: Meeting;
  readonly board: StateBoard;
  readonly counters: Counters;
  /** performance.now() of its start. */
  readonly since: number;
  /** Why it is not served, nor was since; another attempt may be under way. */
  readonly failure?: Error | undefined;
  /** It is over, without a failure. */
  readonly hasEnded?: boolean;
}

/** The same with what counts its entries. */
export interface SampledDevice extends ShownDevice {
  readonly sampler: TrafficSampler;
}

const NET = 1;
const VHOST_BITS = VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;
const names = (bits: string | undefined) => featureNames(NET, BigInt(bits ?? 0));

/** The state of a device, read without disturbing the thread that serves it. */
export function deviceState(shown: SampledDevice): DeviceState {
  const { name, meeting, board, counters, since, failure } = shown;
  const reading = board.read();
  const report = reading && (JSON.parse(reading.text) as DeviceReport);
  const positions = report?.queues.map((queue) => readPositions(queue));
  // The memory may have gone while it was read: what stood there is no position then.
  const good = reading !== undefined && board.isStill(reading);
  const device = counters.snapshot();
  return {
    device: report?.name ?? name,
    type: "net",
    pid: process.pid,
    time: new Date().toISOString(),
    uptime_s: Math.round((performance.now() - since) / 100) / 10,
    meeting: {
      role: meeting.role,
      path: "path" in meeting ? meeting.path : null,
      fd: "fd" in meeting ? meeting.fd : null,
    },
    state: failure ? "failed" : shown.hasEnded ? "ended" : stateOf(report),
    failure: failure?.message ?? null,
    reconnects: Math.max(0, device.connections - 1),
    refused_messages_by_kind: report?.refused_messages ?? {},
    counters: device,
    features: {
      device: names(report?.device_features),
      offered: names(report?.offered_features),
      negotiated: featureNames(NET, BigInt(report?.front_end_features ?? 0) & ~VHOST_BITS),
    },
    protocol_features: protocolFeatureNames(BigInt(report?.protocol_features ?? 0)),
    status: statusNames(report?.status ?? 0),
    link: report?.link ?? null,
    mac: report?.mac ?? null,
    mtu: report ? { device: report.max_mtu, front_end: report.front_end_mtu } : null,
    pairs: report?.pairs ?? null,
    memory: report?.memory ?? { regions: 0, mapped_bytes: 0, mapping_ms: 0 },
    start_ms: report?.start_ms ?? null,
    held: report?.held ?? false,
    logging: report?.logging ?? false,
    datapath: report?.datapath ?? null,
    last_switch: report?.last_switch ?? null,
    queues: [
      ...(report?.queues ?? []).map((queue, i) => dataQueue(queue, (good && positions?.[i]) || null, shown)),
      ...(report?.control_queue ? [controlQueue(report)] : []),
    ],
  };
}

function stateOf(report: DeviceReport | undefined): DeviceState["state"] {
  if (!report) return "starting";
  return report.running ? "running" : report.connected ? "connected" : "waiting";
}

function dataQueue(
  queue: QueueReport,
  positions: RingPositions | null,
  shown: SampledDevice,
): DeviceQueueState {
  const { ring: _ring, start: _start, ...seen } = queue;
  const { index } = queue;
  return {
    ...seen,
    positions,
    traffic: shown.sampler.of(index) ?? null,
    counters: shown.counters.queue(index).snapshot(),
  };
}

/** The device's own control queue: it takes its commands from vdpactl, which waits for each without an interrupt. */
function controlQueue({ control_queue, queues }: DeviceReport): DeviceQueueState {
  return {
    ...control_queue!,
    type: "control",
    started: true,
    enabled: true,
    mode: "own",
    doorbell: "none",
    vector: null,
    call: "none",
    layout: queues[0]?.layout ?? "split",
    positions: null,
    traffic: null,
    gap_us: null,
    counters: null,
  };
}
