import type { SharedBuffer } from "../hw/dma-buffer.ts";
import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import type { RelayCounts } from "./relay-counts.ts";
import type { RingFault } from "./ring-fault.ts";

/** The guest's ring, as the front-end described it and the features say. */
export interface GuestRing {
  /** Entries: a power of two up to 32768 (split), 1 to 32768 (packed). */
  readonly size: number;
  readonly descGpa: bigint;
  /** Available ring (split) or driver event suppression area (packed). */
  readonly driverGpa: bigint;
  /** Used ring (split) or device event suppression area (packed). */
  readonly deviceGpa: bigint;
  /** Whether EVENT_IDX, INDIRECT_DESC and IN_ORDER were negotiated, with the guest and the device alike. */
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
}

export interface RelayOptions {
  readonly ring: GuestRing;
  readonly memory: GuestMap;
  /** Zeroed memory of ours with room for `relayBytes` from `offset` (a multiple of 64) on, in its first 2 GiB. */
  readonly buffer: SharedBuffer;
  readonly offset: number;
}

/**
 * Where a ring stands on the guest's side. Split: indices from 0 to 65535, wraps 0. Packed: positions below the ring
 * size with their wrap counters.
 */
export interface RingPosition {
  readonly availPosition: number;
  readonly availWrap: number;
  readonly usedPosition: number;
  readonly usedWrap: number;
}

/** Where what was written is logged. */
export interface RelayLogging {
  readonly log: DirtyLog;
  /** LOG_ALL: the buffers that the device writes. */
  readonly data: boolean;
  /** VHOST_VRING_F_LOG: log_guest_addr, the guest address that stands for the used ring's first byte (split). */
  readonly usedRingGpa: bigint | undefined;
}

/**
 * Mediates one virtqueue: the device works on a ring of ours that begins where a fresh device begins, the guest on
 * its own at any position. One thread calls everything; nothing waits, nothing throws but what is named here.
 *
 * Life of a ring:
 * 0. Once per thread `warmUpRelays`. Where a device leaves a live ring, `recoverSplit` or `recoverPacked` find the
 *    position.
 * 1. `createRelay` in a DmaBuffer with room for `relayBytes`, `setLogging`, `start(position)`, give `deviceQueue` to
 *    `transport.setupQueue` and enable the queue.
 * 2. `setGuestKicks(true)`, `setDeviceCalls(true)`, then once `forward` + doorbell and `complete` + call fd without
 *    asking whether they are wanted (a notification may have been lost before).
 * 3. Guest's kick eventfd: `forward()`, and if `kickWanted()` write the doorbell.
 *    Device's interrupt: `complete()`, and if `callWanted()` signal the call fd; if `starved` also `forward()`.
 *    To poll instead, switch kicks or calls off; on switching on again, `true` says that entries came meanwhile.
 * 4. Stop: reset the device's queue, `complete()` for what it had finished, `callWanted()`, then `closeHoles()`:
 *    its result is the vring base, and the guest's ring is such that nothing is lost or repeated from there.
 *    `start` may follow at once, on a queue that was set up anew.
 *
 * After a `fault` only `closeHoles` and `start` do anything. What was completed before it is published.
 * Whenever the memory table has changed: `rebind()` before anything else.
 */
export interface RingRelay {
  /** The device's addresses (IOVA) for queue_desc, queue_driver and queue_device. */
  readonly deviceQueue: { readonly desc: bigint; readonly driver: bigint; readonly device: bigint };
  /** Why the ring stopped. */
  readonly fault: RingFault | undefined;
  readonly counts: RelayCounts;
  /** Chains that the device holds. */
  readonly outstanding: number;
  /** `forward` stopped for want of room to remember chains; `complete` makes some. */
  readonly starved: boolean;

  /**
   * Begins anew: our ring empty, the guest's at its used position. What was available there and not used is
   * forwarded again. The device must not use our ring before.
   */
  start(position: RingPosition): void;
  /** Gives newly available entries to the device; how many. */
  forward(): number;
  /** Whether the device wants a doorbell for what was forwarded since this was asked last. */
  kickWanted(): boolean;
  /** Gives the device's completions to the guest, after logging what was written; how many. */
  complete(): number;
  /** Whether the guest wants an interrupt for what was completed since this was asked last. */
  callWanted(): boolean;
  /** Asks the guest for kicks or for none; true when entries are available that it will not kick for. */
  setGuestKicks(on: boolean): boolean;
  /** Asks the device for interrupts or for none; true when there are completions that it will not signal. */
  setDeviceCalls(on: boolean): boolean;

  /** Logs from now on, to another log, or no more. Chains that the device holds already are logged as well. */
  setLogging(logging: RelayLogging | undefined): void;
  /**
   * Whether to stop feeding where a fresh device can take over: index 0 (split), position 0 with wrap counter 1
   * (packed), the next time the ring gets there.
   */
  limitFeed(on: boolean): void;
  /** The feed has stopped there. */
  readonly atBoundary: boolean;
  /**
   * The feed has stopped at the boundary and the device has finished all: its queue can be reset and enabled on the
   * guest's own ring.
   */
  readonly drainedAtBoundary: boolean;

  /** Position of the first entry that is not completed. After completions out of order only `closeHoles` gives it. */
  base(): RingPosition;
  /**
   * Rewrites the guest's ring so that exactly the chains that the device still holds are available from the used
   * position on, in their order, and logs their buffers, which the device may have written in part. The device must
   * not use the ring any more, and neither may `forward` or `complete` be called before the next `start`.
   */
  closeHoles(): RingPosition;
  /** Finds the ring anew after the memory table has changed. A ring that is gone is a fault of the guest's. */
  rebind(): void;
}
