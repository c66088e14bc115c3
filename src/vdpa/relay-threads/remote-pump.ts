import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import type { Doorbell } from "../../hw/pci-function.ts";
import type { DirtyLog } from "../../memory/dirty-log.ts";
import type { RelayLogging, RingPosition, RingRelay } from "../../relay/relay.ts";
import type { QueueCounters } from "../counters.ts";
import type { Pump, PumpedRing } from "../pump.ts";
import type { DoorbellLine } from "./doorbell-line.ts";
import type { CreateData, LogOutcome, RelayOp } from "./link.ts";
import type { RelayThread } from "./relay-thread.ts";

/** What a remote pump works with. */
export interface RemotePlace {
  readonly thread: RelayThread;
  /** The pump's number in its thread. */
  readonly slot: number;
  /** Number of the ring's memory table there. */
  readonly table: number;
  /** The pump's own. */
  readonly line: DoorbellLine;
  readonly counters: QueueCounters;
  readonly log: Log;
  /** Called once, when the pump has finished. */
  readonly onFinished: () => void;
}

/** A ring whose entries a relay thread moves; every call is a request to that thread, and waits for its answer. */
export class RemotePump implements Pump {
  readonly deviceQueue: RingRelay["deviceQueue"];
  #take: (() => void) | undefined;
  #handBackAllowed = false;
  #dirtyLog: DirtyLog | undefined;
  #doorbell: Doorbell | undefined;

  /** @throws OperatorError where the guest's ring is not in its memory, or the thread is lost */
  constructor(
    readonly pumped: PumpedRing,
    readonly place: RemotePlace,
  ) {
    const { buffer, ...ring } = pumped;
    const data: CreateData = {
      ...ring,
      doorbellFd: place.line.fd,
      buffer: { hva: buffer.memory.hva, bytes: buffer.memory.size, iova: buffer.iova },
      table: place.table,
    };
    this.deviceQueue = this.#ask("create", 0, data) as RingRelay["deviceQueue"];
  }

  start(position: RingPosition): void {
    this.#ask("start", 0, position);
  }

  connect(doorbell: Doorbell): void {
    this.place.line.connect(doorbell);
    this.#doorbell = doorbell;
    this.#ask("connect", 0, doorbell);
  }

  setEnabled(enabled: boolean): void {
    this.#ask("enable", enabled ? 1 : 0);
  }

  setKick(kickFd: number): void {
    this.#ask("kick", kickFd);
  }

  setCall(callFd: number): void {
    this.#ask("call", callFd);
  }

  handBackTo(take: () => void): void {
    this.#take = take;
    this.#ask("handBack");
  }

  allowHandBack(on: boolean): void {
    this.#ask("allowHandBack", on ? 1 : 0);
    this.#handBackAllowed = on;
  }

  setLogging(logging: RelayLogging | undefined): void {
    const data = logging && { ...logging, log: logging.log.share() };
    this.#settleLog(this.#ask("log", 0, data) as LogOutcome);
    this.#dirtyLog = logging?.log;
  }

  /** The thread has been given the new table as a whole. */
  rebind(): void {}

  /** The thread says that the ring can be handed back; meanwhile it may have been forbidden. */
  drained(): void {
    if (!this.#handBackAllowed || !this.#doorbell) return;
    const { thread, slot } = this.place;
    if (thread.call("takeDrained", { numbers: [slot] }).number === 1) this.#take?.();
  }

  cut(): void {
    if (!this.#doorbell) return;
    this.#doorbell = undefined;
    // Of a lost thread `finish` will tell.
    if (this.place.thread.life === "runs") this.#ask("cut");
    this.place.line.disconnect();
  }

  finish(): RingPosition | undefined {
    const { line, counters, log, onFinished } = this.place;
    let position: RingPosition | undefined;
    try {
      const outcome = this.#ask("finish") as { position: RingPosition; log: LogOutcome };
      position = outcome.position;
      this.#settleLog(outcome.log);
    } catch (error) {
      counters.add("ring_faults");
      log.error(`queue ${this.pumped.index} was not stopped in order: ${messageOf(error)}`, {
        event: "cleanup_failed",
        queue: this.pumped.index,
        error: messageOf(error),
      });
    }
    line.close();
    onFinished();
    return position;
  }

  #settleLog({ failures, firstFailure }: LogOutcome): void {
    this.#dirtyLog?.addFailures(failures, firstFailure);
  }

  #ask(op: RelayOp, number = 0, data?: unknown): unknown {
    return this.place.thread.call(op, { numbers: [this.place.slot, number], data }).data;
  }
}
