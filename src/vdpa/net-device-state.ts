import type { DatapathPolicy } from "./ring.ts";
import type { RingSwitch } from "./switch-times.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** What a network device is and does, for those who look on. */
export interface NetDeviceState {
  readonly deviceFeatures: bigint;
  /** What a front-end may choose from. */
  readonly offered: bigint;
  /** With the device, at its last start. */
  readonly negotiated: bigint;
  readonly running: boolean;
  /** All rings are to be relayed (`holdInRelay`). */
  readonly held: boolean;
  readonly logging: boolean;
  readonly datapath: DatapathPolicy;
  readonly devicePairs: number;
  /** Pairs that the device serves now. */
  readonly activePairs: number;
  /** Six bytes. */
  readonly mac: Uint8Array | undefined;
  readonly linkUp: boolean | undefined;
  /** What the last start took, up to DRIVER_OK and the active pairs, in ms. */
  readonly startMs: number | undefined;
  readonly lastSwitch: RingSwitch | undefined;
  /** The device's own control queue, as far as it is in use. */
  readonly controlQueue: { readonly index: number; readonly size: number } | undefined;
}

/** What a device was doing when it was stopped, for `configure`. */
export interface SuspendedGuest {
  /** As the front-end chose them. */
  readonly features: bigint;
  readonly vrings: readonly VringConfig[];
}
