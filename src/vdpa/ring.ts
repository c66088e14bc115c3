import type { Log } from "../hw/log.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { RelayLogging } from "../relay/relay.ts";
import type { Doorbells } from "./doorbells.ts";
import type { Interrupts } from "./interrupts.ts";
import type { DoorbellKind, VringConfig } from "./vdpa-device.ts";

/**
 * `auto`: the device works on the guest's own ring wherever it can; `direct`: nothing else is allowed; `relay`: this
 * process always moves the ring's entries.
 */
export type DatapathPolicy = "auto" | "direct" | "relay";

/** How a ring's entries reach the device: the device reads the guest's ring itself, or this process relays them. */
export type RingMode = "direct" | "relay";

/** What the rings of a device share. */
export interface RingParts {
  readonly transport: VirtioTransport;
  readonly memory: GuestMemory;
  readonly doorbells: Doorbells;
  readonly interrupts: Interrupts;
}

/** What one queue is doing, for those who look on. */
export interface QueueState {
  readonly index: number;
  readonly type: "rx" | "tx";
  /** Entries. */
  readonly size: number;
  readonly enabled: boolean;
  readonly mode: RingMode;
  readonly doorbell: DoorbellKind;
  /** MSI-X vector. */
  readonly vector: number;
  /** Whether interrupts reach the guest without this process. */
  readonly call: "direct" | "relay" | "none";
  /** The relay thread that moves its entries; absent where the device's thread or nobody does. */
  readonly thread?: number;
}

/**
 * A guest's ring on the device. Its life: `setUp` before DRIVER_OK or on a running device, `connect`, changes of its
 * state, `cut`, a reset of its queue or of the device, `finish`, `position`.
 */
export interface Ring {
  readonly index: number;
  readonly mode: RingMode;
  readonly config: VringConfig;
  readonly enabled: boolean;
  /** When it was cut, as performance.now() says it; undefined while it is connected, or where that is not kept. */
  readonly cutAt?: number | undefined;
  /** Gives the ring to the device, which runs or is about to. */
  setUp(): void;
  /** Wires the eventfds as the ring's state wants it, and notifies both sides once. */
  connect(): void;
  /** @param live whether the device runs, so that the change reaches it */
  setEnabled(enabled: boolean, live: boolean): void;
  /** The old eventfd may be closed afterwards. */
  setKick(kickFd: number, live: boolean): void;
  /** Likewise. */
  setCall(callFd: number, live: boolean): void;
  /** Whether to stay relayed even where the device could take the ring over. */
  hold(on: boolean): void;
  /** How what the device writes is logged; only a relayed ring can be. */
  setLogging(logging: RelayLogging | undefined): void;
  /** The memory table has changed. */
  rebind(): void;
  /** No doorbell any more. */
  cut(): void;
  /** Rings the device's doorbell once, also of a direct ring that is cut. */
  kick(): void;
  /** The device has forgotten the ring: what it had done reaches the guest, and what the ring needed is freed. */
  finish(): void;
  /** The vring base of a finished ring. */
  position(): number;
  state(): QueueState;
}

/** One line on how a queue's packets, kicks and interrupts travel. */
export function logQueue(log: Log, q: QueueState): void {
  const thread = q.thread === undefined ? "" : ` thread ${q.thread}`;
  const state = q.enabled ? "" : " disabled";
  const { index: queue, ...rest } = q;
  log.info(
    `queue ${q.index} ${q.type} size ${q.size} ${q.mode} doorbell ${q.doorbell} vector ${q.vector} call ${q.call}${thread}${state}`,
    { event: "queue_state", queue, ...rest },
  );
}
