import type { DatapathPolicy, QueueState } from "../../vdpa/ring.ts";

/**
 * What a serving thread puts on its board, as JSON: what only it knows. Feature bits are hexadecimal. Addresses are
 * HVAs of this process, good as long as the board's epoch says so. `DeviceState` is what others get to see of it.
 */
export interface DeviceReport {
  /** Full BDF, or `sim`; another one after the guest has moved. */
  readonly name: string;
  readonly connected: boolean;
  /** The front-end's, as negotiated, with the vhost-user bits; null before SET_FEATURES. */
  readonly front_end_features: string | null;
  readonly protocol_features: string;
  /** Virtio device status as the front-end set it. */
  readonly status: number;
  readonly front_end_mtu: number | null;
  readonly refused_messages: Readonly<Record<string, number>>;
  readonly memory: {
    readonly regions: number;
    readonly mapped_bytes: number;
    /** What mapping the memory for DMA has taken since the front-end came. */
    readonly mapping_ms: number;
  };
  readonly running: boolean;
  /** The rings are to stay relayed until the operator says otherwise. */
  readonly held: boolean;
  /** What the device writes is being logged. */
  readonly logging: boolean;
  /** How the operator has the rings run. */
  readonly datapath: DatapathPolicy;
  readonly device_features: string;
  readonly offered_features: string;
  /** With the device, at its last start. */
  readonly negotiated_features: string;
  readonly pairs: { readonly device: number; readonly active: number };
  readonly mac: string | null;
  readonly max_mtu: number;
  readonly link: "up" | "down" | null;
  /** What the last start of the device took, up to DRIVER_OK and the active pairs. */
  readonly start_ms: number | null;
  readonly last_switch: ModeSwitch | null;
  readonly control_queue: { readonly index: number; readonly size: number } | null;
  readonly queues: readonly QueueReport[];
}

export interface ModeSwitch {
  /** Null when all rings moved at once, by a reset of the whole device. */
  readonly queue: number | null;
  readonly to: "direct" | "relay";
  /** From the moment at which the device got nothing new until it was connected again. */
  readonly gap_us: number;
}

export interface QueueReport extends QueueState {
  readonly started: boolean;
  /** Another one whenever the front-end starts the ring, from this base: positions before and after are unrelated. */
  readonly start: { readonly id: number; readonly base: number };
  /** What its last change of mode took; null when it has not changed. */
  readonly gap_us: number | null;
  readonly layout: "split" | "packed";
  /** Null when the guest's ring is not in its memory. */
  readonly ring: RingAddresses | null;
}

/** Where a guest's ring lies in this process. */
export interface RingAddresses {
  readonly desc_hva: number;
  readonly driver_hva: number;
  readonly device_hva: number;
}
