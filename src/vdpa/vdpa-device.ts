import type { MappablePage } from "../hw/pci-function.ts";
import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

/** A virtqueue as the front-end described it. Fds are the session's and stay open while the ring runs. */
export interface VringConfig {
  /** Virtqueue index. */
  readonly index: number;
  /** Entries. */
  readonly size: number;
  readonly descGpa: bigint;
  /** Available ring (split) or driver area (packed). */
  readonly driverGpa: bigint;
  /** Used ring (split) or device area (packed). */
  readonly deviceGpa: bigint;
  /** Position as in SET_VRING_BASE. */
  readonly base: number;
  /** Eventfd that the guest signals; -1 when the guest's kicks do not come by eventfd. */
  readonly kickFd: number;
  /** Eventfd that interrupts the guest; -1 for none. */
  readonly callFd: number;
  readonly enabled: boolean;
}

/** What is logged of what the device writes to guest memory. */
export interface DeviceLogging {
  readonly log: DirtyLog;
  /** LOG_ALL: the buffers. */
  readonly data: boolean;
  /** VHOST_VRING_F_LOG: log_guest_addr of the rings whose used ring is logged, by virtqueue index. */
  readonly usedRings: ReadonlyMap<number, bigint>;
}

/** How a kick reaches the device. */
export type DoorbellKind = "host-notifier" | "ioeventfd" | "relay" | "none";

/**
 * The vDPA operations, as in the 2019 DPDK series: what a vhost-user session may ask of a device. All calls are
 * synchronous and either complete or throw an OperatorError and leave the device reset or as it was.
 */
export interface VdpaDevice {
  readonly type: "net" | "blk";
  /** Guest memory as mapped for this device. */
  readonly memory: GuestMemory;
  /** Data virtqueues that can be served. */
  readonly maxQueues: number;
  /** A front-end has come: what would hold up the start of its rings later is done now. */
  prepare(): void;
  /** Answer to GET_QUEUE_NUM: queue pairs for net, queues for blk. */
  getQueueNum(): number;
  /** Virtio feature bits that the front-end may choose from (without the vhost-user bits 26 and 30). */
  getFeatures(): bigint;
  /** Vhost-user protocol feature bits that this device can carry. */
  getProtocolFeatures(): bigint;
  maxQueueSize(index: number): number;
  /** Largest MTU in bytes that may be set. */
  readonly maxMtu: number;

  /** Whether a ring of these features can start at this base; the reason when it can not. */
  baseProblem(features: bigint, base: number): string | undefined;
  /** Whether the device runs (DRIVER_OK). */
  readonly running: boolean;
  /** The running device has met an error from which only a reset brings it back. */
  readonly needsReset: boolean;
  /** Negotiates the features, sets up the rings and starts the device. */
  configure(features: bigint, vrings: readonly VringConfig[]): void;
  /** Adds a ring to a running device. */
  startVring(vring: VringConfig): void;
  /** Stops a ring; after it returns the device neither writes its memory nor signals. Returns the vring base. */
  stopVring(index: number): number;
  /** Enables or disables a ring of the running device; drives VQ_PAIRS_SET. */
  setVringState(index: number, enabled: boolean): void;
  /** Replaces the kick eventfd of a ring of the running device; the old one may be closed afterwards. */
  setVringKick(index: number, fd: number): void;
  /** Replaces the call eventfd likewise. */
  setVringCall(index: number, fd: number): void;
  /** Whether `setLogging` can be asked to log. */
  readonly canLog: boolean;
  /**
   * Logs from now on, to another log, or no more, on running rings and those to come. Rings that can not be logged as
   * they run are moved to where they can; with an error they are logged as before, and run on.
   */
  setLogging(logging: DeviceLogging | undefined): void;
  /**
   * Relays all rings from now on, wherever they stand (true), or lets the device take over those that it can (false).
   * With an error the rings that could not be moved run on as before.
   */
  holdInRelay(on: boolean): void;
  /** Whether `announce` can be asked. */
  readonly canAnnounce: boolean;
  /**
   * Has the running device send the frame from which the network learns where the guest is now.
   * @param mac six bytes, the guest's address
   */
  announce(mac: Uint8Array): void;
  /** Resets the device, so that all rings are stopped. Memory stays mapped. Harmless when nothing runs. */
  stop(): void;

  /** VFIO's fds, undefined on the simulated device. They stay the device's. */
  getVfioGroupFd(): number | undefined;
  getVfioDeviceFd(): number | undefined;
  /** The page with a queue's doorbell, for VRING_HOST_NOTIFIER, where one can be given away. */
  getNotifyArea(index: number): MappablePage | undefined;
  /** The front-end took (true) or gave back (false) the doorbell page: the kick eventfd is idle meanwhile. */
  setHostNotifier(index: number, active: boolean): void;
  /** Calls back after a running ring went from the relay back to the device of its own accord; returns the end of it. */
  watchModes(changed: () => void): () => void;
}
