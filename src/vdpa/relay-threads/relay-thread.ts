import { EPOLLIN, type EventLoop } from "../../hw/ffi/event-loop.ts";
import { drainEventfd, signalEventfd } from "../../hw/ffi/eventfd.ts";
import { closeFd } from "../../hw/ffi/fd.ts";
import { MailboxClient, type Message } from "../../hw/mailbox.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import type { PumpedRing } from "../pump.ts";
import type { RelayParts } from "../relayed-ring.ts";
import { DoorbellLine } from "./doorbell-line.ts";
import { DrainedFlags, MAX_SLOTS } from "./drained-flags.ts";
import { type RelayLink, type RelayOp, relayProtocol } from "./link.ts";
import { RemotePump } from "./remote-pump.ts";
import { TableHolder } from "./table-holder.ts";

/** One relay thread, as the thread that drives the device sees it. */
export class RelayThread {
  readonly #client: MailboxClient<RelayOp>;
  readonly #eventFd: number;
  readonly #drained: DrainedFlags;
  readonly #pumps = new Map<number, RemotePump>();
  readonly #tables: TableHolder;

  /**
   * @param number from 0
   * @param limitMs longest wait for an answer, as in MailboxClient
   */
  constructor(
    readonly number: number,
    link: RelayLink,
    readonly loop: EventLoop,
    limitMs?: number,
  ) {
    this.#client = new MailboxClient(link.mailbox, relayProtocol(number), limitMs);
    this.#eventFd = link.eventFd;
    this.#drained = new DrainedFlags(link.mailbox);
    this.#tables = new TableHolder(this);
    loop.add(link.eventFd, EPOLLIN, () => this.#onEvent());
  }

  /** `hangs` when it has not answered once: it will not be asked again. */
  get life(): "runs" | "hangs" | "dead" {
    if (this.#client.dead) return "dead";
    return this.#client.lost ? "hangs" : "runs";
  }

  /** Throws what the thread threw, or OperatorError when it is lost; then the service ends as well. */
  call(op: RelayOp, message: Message): { number: number; data: unknown } {
    try {
      return this.#client.call(op, message);
    } finally {
      // Where the thread died by itself it has signalled already.
      if (this.#client.lost) signalEventfd(this.#eventFd);
    }
  }

  createPump(pumped: PumpedRing, parts: RelayParts): RemotePump {
    const { memory, loop, log, transport, doorbells } = parts;
    const slot = this.#freeSlot();
    const counters = parts.counters.queue(pumped.index);
    const table = this.#tables.use(memory);
    const line = new DoorbellLine(pumped.index, transport.fn, loop, log, doorbells.policy);
    const release = () => {
      this.#pumps.delete(slot);
      this.#tables.release(memory);
    };
    try {
      const place = { thread: this, slot, table, line, counters, log, onFinished: release };
      const pump = new RemotePump(pumped, place);
      this.#pumps.set(slot, pump);
      return pump;
    } catch (error) {
      line.close();
      release();
      throw error;
    }
  }

  /** Ends the thread, which must have no rings any more. */
  close(): void {
    try {
      if (!this.#client.lost) this.#client.call("close");
    } finally {
      this.loop.remove(this.#eventFd);
      // As in MailboxClient: a thread that hangs may still use it.
      if (!this.#client.lost) closeFd(this.#eventFd);
      this.#client.close();
    }
  }

  #freeSlot(): number {
    for (let slot = 0; slot < MAX_SLOTS; slot++) if (!this.#pumps.has(slot)) return slot;
    throw new OperatorError(`relay thread ${this.number} has no room for another ring`);
  }

  #onEvent(): void {
    drainEventfd(this.#eventFd);
    const { lost } = this.#client;
    // Not to be survived: its rings stand still, and what it was given may still be in its hands.
    if (lost) throw lost;
    for (const slot of this.#drained.take()) this.#pumps.get(slot)?.drained();
  }
}
