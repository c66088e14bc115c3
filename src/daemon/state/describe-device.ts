import * as F from "../../hw/virtio/features.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { VirtioNetDevice } from "../../vdpa/net-device.ts";
import type { NetDeviceState } from "../../vdpa/net-device-state.ts";
import type { VringConfig } from "../../vdpa/vdpa-device.ts";
import type { FrontEndState } from "../../vhost-user/session-state.ts";
import type { DeviceReport, QueueReport, RingAddresses } from "./device-report.ts";

/** What the serving thread knows besides its device. */
export interface DescribeInputs {
  readonly name: string;
  readonly device: VirtioNetDevice;
  /** Undefined while no front-end is connected. */
  readonly frontEnd: FrontEndState | undefined;
  readonly refused: ReadonlyMap<string, number>;
  readonly mappingMs: number;
}

/** Milliseconds to the microsecond: more digits would only look exact. */
const toMicroseconds = (ms: number) => Math.round(ms * 1000) / 1000;
const hex = (bits: bigint) => `0x${bits.toString(16)}`;

export function describeDevice({ name, device, frontEnd, refused, mappingMs }: DescribeInputs): DeviceReport {
  const state = device.describe();
  const { linkUp, mac, startMs, lastSwitch } = state;
  return {
    name,
    connected: frontEnd !== undefined,
    front_end_features: frontEnd?.features === undefined ? null : hex(frontEnd.features),
    protocol_features: hex(frontEnd?.protocolFeatures ?? 0n),
    status: frontEnd?.status ?? 0,
    front_end_mtu: frontEnd?.mtu ?? null,
    refused_messages: Object.fromEntries(refused),
    memory: {
      regions: device.memory.count,
      mapped_bytes: Number(device.memory.bytes),
      mapping_ms: toMicroseconds(mappingMs),
    },
    running: state.running,
    held: state.held,
    logging: state.logging,
    datapath: state.datapath,
    device_features: hex(state.deviceFeatures),
    offered_features: hex(state.offered),
    negotiated_features: hex(state.negotiated),
    pairs: { device: state.devicePairs, active: state.activePairs },
    mac: mac ? [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":") : null,
    max_mtu: device.maxMtu,
    link: linkUp === undefined ? null : linkUp ? "up" : "down",
    start_ms: startMs === undefined ? null : toMicroseconds(startMs),
    last_switch: lastSwitch
      ? { queue: lastSwitch.queue ?? null, to: lastSwitch.to, gap_us: lastSwitch.gapUs }
      : null,
    control_queue: state.controlQueue ?? null,
    queues: queueReports(device, state, frontEnd),
  };
}

function queueReports(
  device: VirtioNetDevice,
  state: NetDeviceState,
  frontEnd: FrontEndState | undefined,
): QueueReport[] {
  const packed = F.hasFeature(state.negotiated, F.VIRTIO_F_RING_PACKED);
  const configs = new Map(device.ringConfigs().map((config) => [config.index, config]));
  return device.queues().map((queue) => ({
    ...queue,
    started: frontEnd?.rings.find(({ index }) => index === queue.index)?.started ?? false,
    start: device.starts.of(queue.index) ?? { id: 0, base: 0 },
    gap_us: device.switchGapUs(queue.index) ?? null,
    layout: packed ? "packed" : "split",
    ring: ringAddresses(device.memory, configs.get(queue.index)!, packed),
  }));
}

/** SAFETY: addresses of guest memory, good until the memory table changes; whoever reads there asks the board's epoch. */
function ringAddresses(memory: GuestMemory, config: VringConfig, packed: boolean): RingAddresses | null {
  const { size, descGpa, driverGpa, deviceGpa } = config;
  try {
    return {
      desc_hva: memory.gpaToHva(descGpa, 16 * size),
      driver_hva: memory.gpaToHva(driverGpa, packed ? 4 : 4 + 2 * size),
      device_hva: memory.gpaToHva(deviceGpa, packed ? 4 : 4 + 8 * size),
    };
  } catch {
    // No region holds it any more: the relay reports that, and the device faults on it.
    return null;
  }
}
