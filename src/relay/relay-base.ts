import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import { ChainReader } from "./chain-reader.ts";
import { ChainRecord } from "./chain-record.ts";
import { GuestView } from "./guest-view.ts";
import type { GuestRing, RelayLogging, RelayOptions } from "./relay.ts";
import { RelayCounts } from "./relay-counts.ts";
import { RingFault } from "./ring-fault.ts";

/** What both kinds of relay have: the chains that the device holds, the log, and how a ring stops. */
export abstract class RelayBase {
  readonly counts = new RelayCounts();
  fault: RingFault | undefined;
  outstanding = 0;
  starved = false;
  protected readonly ring: GuestRing;
  protected readonly memory: GuestMap;
  protected readonly view: GuestView;
  protected readonly record: ChainRecord;
  protected readonly reader: ChainReader;
  /** By chain: when it was forwarded, in chains since the start. */
  protected readonly since: Float64Array;
  protected forwarded = 0;
  protected logging: RelayLogging | undefined;
  /** Whether feeding is to stop at the boundary, and whether it has. */
  protected limited = false;
  atBoundary = false;

  protected constructor({ ring, memory }: RelayOptions) {
    this.ring = ring;
    this.memory = memory;
    this.view = new GuestView(memory);
    this.record = new ChainRecord(ring.size);
    this.reader = new ChainReader(this.view, this.record, ring.size, ring.indirect);
    this.since = new Float64Array(ring.size);
  }

  protected reset(): void {
    this.record.clear();
    this.fault = undefined;
    this.starved = false;
    this.outstanding = 0;
    this.forwarded = 0;
  }

  /** Chains that the device holds, in the order in which they were forwarded. */
  protected heldInOrder(): number[] {
    const { record, since } = this;
    const held: number[] = [];
    for (let id = 0; id < since.length; id++) if (record.isHeld(id)) held.push(id);
    return held.sort((a, b) => since[a]! - since[b]!);
  }

  /** Where the buffers of completed chains are marked; undefined when they are not logged. */
  protected get dataLog(): DirtyLog | undefined {
    return this.logging?.data ? this.logging.log : undefined;
  }

  get drainedAtBoundary(): boolean {
    return this.atBoundary && this.outstanding === 0;
  }

  /** Runs what touches the guest's ring; a fault there stops the relay. */
  protected guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.fail(error);
    }
  }

  protected fail(error: unknown): void {
    if (!(error instanceof RingFault)) throw error;
    this.fault ??= error;
    if (error.side === "guest") this.counts.guestFaults++;
    else this.counts.deviceFaults++;
  }
}
