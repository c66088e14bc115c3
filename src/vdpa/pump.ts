import type { SharedBuffer } from "../hw/dma-buffer.ts";
import type { Doorbell } from "../hw/pci-function.ts";
import type { GuestRing, RelayLogging, RingPosition, RingRelay } from "../relay/relay.ts";

/** A ring whose entries are to be moved. */
export interface PumpedRing {
  /** Virtqueue index, for messages and counters. */
  readonly index: number;
  readonly packed: boolean;
  readonly ring: GuestRing;
  readonly enabled: boolean;
  /** Eventfds of the guest, -1 for none. */
  readonly kickFd: number;
  readonly callFd: number;
  /** Zeroed memory for our ring. The caller's, until `finish` has returned. */
  readonly buffer: SharedBuffer;
  /** Eventfd of the caller's for the device's interrupts; signalled by anybody it means "look at the ring". */
  readonly interruptFd: number;
}

/**
 * Moves the entries of one ring between the guest's ring and ours, in this thread or in another one. Each call has
 * taken effect when it returns: eventfds, logs and memory that it replaces may then be closed. Whoever controls the
 * ring calls: `start`, `connect`, changes of its state, `cut`, `finish`.
 */
export interface Pump {
  /** Our ring's addresses (IOVA) for the device. */
  readonly deviceQueue: RingRelay["deviceQueue"];
  /** Begins where the guest's ring stands. The device must not use our ring before. */
  start(position: RingPosition): void;
  /** The device works on our ring: notifies both sides once and follows the guest's kicks. */
  connect(doorbell: Doorbell): void;
  setEnabled(enabled: boolean): void;
  setKick(kickFd: number): void;
  setCall(callFd: number): void;
  /** Has `take` called when the device can work on the guest's ring itself, while `allowHandBack` allows it. */
  handBackTo(take: () => void): void;
  allowHandBack(on: boolean): void;
  setLogging(logging: RelayLogging | undefined): void;
  /** The memory table has changed. */
  rebind(): void;
  /** No kick is followed and no doorbell rung any more. */
  cut(): void;
  /**
   * The device has forgotten our ring: gives what it had done to the guest and lets go of everything. Returns where
   * the guest's ring stands, or undefined when that can not be told as the moving thread is lost; that thread may
   * still use what it was given. Does not fail.
   */
  finish(): RingPosition | undefined;
}
