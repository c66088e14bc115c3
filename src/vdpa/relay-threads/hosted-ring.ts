import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import { signalEventfd } from "../../hw/ffi/eventfd.ts";
import { MappedMemory } from "../../hw/ffi/mmap.ts";
import type { Log } from "../../hw/log.ts";
import { DirtyLog, type SharedLog } from "../../memory/dirty-log.ts";
import type { GuestMap } from "../../memory/guest-map.ts";
import type { RelayLogging, RingPosition } from "../../relay/relay.ts";
import type { QueueCounters } from "../counters.ts";
import { RingPump } from "../ring-pump.ts";
import type { CreateData, LogOutcome } from "./link.ts";

/** Where a hosted ring lives. */
export interface HostedPlace {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly memory: GuestMap;
  readonly counters: QueueCounters;
}

/** Logging as it crosses threads. */
export type SharedLogging = Omit<RelayLogging, "log"> & { readonly log: SharedLog };

/**
 * A ring that this thread pumps for another one.
 * SAFETY: the buffer and the log are the other thread's; it frees them only after `setLogging` and `finish`, which
 * drop this thread's views of them, have been answered.
 */
export class HostedRing {
  readonly pump: RingPump;
  readonly #buffer: MappedMemory;
  #log: DirtyLog | undefined;

  /** @throws OperatorError where the guest's ring is not in its memory */
  constructor(
    readonly data: CreateData,
    place: HostedPlace,
  ) {
    const { buffer, doorbellFd, ...ring } = data;
    this.#buffer = MappedMemory.borrow(buffer.hva, buffer.bytes);
    const pumped = { ...ring, buffer: { memory: this.#buffer, iova: buffer.iova } };
    try {
      this.pump = new RingPump(pumped, { ...place, ringDoorbell: () => signalEventfd(doorbellFd) });
    } catch (error) {
      this.#buffer.unmap();
      throw error;
    }
  }

  /** Logs from now on, or no more; what became of the log before. */
  setLogging(logging: SharedLogging | undefined): LogOutcome {
    const log = logging && DirtyLog.attach(logging.log);
    this.pump.setLogging(logging && log && { ...logging, log });
    return this.#replaceLog(log);
  }

  /** Ends the ring and drops every view of what is not this thread's. */
  finish(): { position: RingPosition; log: LogOutcome } {
    const position = this.pump.finish();
    this.#buffer.unmap();
    return { position, log: this.#replaceLog(undefined) };
  }

  #replaceLog(log: DirtyLog | undefined): LogOutcome {
    const old = this.#log;
    this.#log = log;
    old?.close();
    return { failures: old?.failures ?? 0, firstFailure: old?.firstFailure };
  }
}
