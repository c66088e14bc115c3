import { EPOLLIN, EventLoop } from "../../hw/ffi/event-loop.ts";
import { drainEventfd, signalEventfd } from "../../hw/ffi/eventfd.ts";
import type { Log } from "../../hw/log.ts";
import { MailboxServer, type Message } from "../../hw/mailbox.ts";
import type { Doorbell } from "../../hw/pci-function.ts";
import { SharedTable } from "../../memory/shared-table.ts";
import type { RingPosition } from "../../relay/relay.ts";
import { warmUpRelays } from "../../relay/warm-up.ts";
import type { Counters } from "../counters.ts";
import { DrainedFlags } from "./drained-flags.ts";
import { HostedRing, type SharedLogging } from "./hosted-ring.ts";
import { type CreateData, type RelayLink, type RelayOp, relayProtocol, type TableData } from "./link.ts";

/** A relay thread at work: moves the entries of the rings it was given, and answers requests in between. */
export class RelayServer {
  readonly #mailbox: MailboxServer<RelayOp>;
  readonly #loop = new EventLoop();
  /** Hears of requests only: for the time in which guest memory must not be touched. */
  readonly #quiet = new EventLoop();
  readonly #rings = new Map<number, HostedRing>();
  readonly #tables = new Map<number, SharedTable>();
  /** Tables that were left and are to be given anew. */
  readonly #left = new Set<number>();
  readonly #drained: DrainedFlags;
  #open = true;

  constructor(
    readonly link: RelayLink,
    readonly number: number,
    readonly counters: Counters,
    readonly log: Log,
  ) {
    this.#mailbox = new MailboxServer(link.mailbox, relayProtocol(number));
    this.#drained = new DrainedFlags(link.mailbox);
    const { requestFd } = link.mailbox;
    for (const loop of [this.#loop, this.#quiet]) loop.add(requestFd, EPOLLIN, () => drainEventfd(requestFd));
  }

  /** Returns once it was told to close. What it throws has been told to the asking side. */
  run(): void {
    try {
      warmUpRelays(this.log);
      while (this.#open) {
        (this.#left.size > 0 ? this.#quiet : this.#loop).runOnce(-1);
        this.#mailbox.serve((op, [a = 0, b = 0], _big, data) => this.#handle(op, a, b, data));
      }
    } catch (error) {
      this.#mailbox.die(error);
      signalEventfd(this.link.eventFd);
      throw error;
    } finally {
      this.#loop.close();
      this.#quiet.close();
    }
  }

  #handle(op: RelayOp, at: number, value: number, data: unknown): Message {
    switch (op) {
      case "table":
        this.#setTable(at, data as TableData);
        return {};
      case "leave":
        this.#tables.get(at)?.drop();
        this.#left.add(at);
        return {};
      case "forget":
        this.#tables.get(at)?.drop();
        this.#tables.delete(at);
        this.#left.delete(at);
        return {};
      case "create":
        return { data: this.#create(at, data as CreateData) };
      case "close":
        this.#open = false;
        return {};
      default:
        return this.#handleRing(op, at, this.#ring(at), value, data);
    }
  }

  #handleRing(op: RelayOp, slot: number, ring: HostedRing, value: number, data: unknown): Message {
    const { pump } = ring;
    switch (op) {
      case "start":
        pump.start(data as RingPosition);
        return {};
      case "connect":
        pump.connect(data as Doorbell);
        return {};
      case "enable":
        pump.setEnabled(value === 1);
        return {};
      case "kick":
        pump.setKick(value);
        return {};
      case "call":
        pump.setCall(value);
        return {};
      case "handBack":
        pump.handBackTo(() => this.#offer(slot));
        return {};
      case "allowHandBack":
        pump.allowHandBack(value === 1);
        return {};
      case "takeDrained": {
        const drained = pump.drainedAtBoundary;
        // From here on the ring stays as it is: it is about to be taken.
        if (drained) pump.cut();
        return { numbers: [drained ? 1 : 0] };
      }
      case "log":
        return { data: ring.setLogging(data as SharedLogging | undefined) };
      case "cut":
        pump.cut();
        return {};
      case "finish":
        this.#rings.delete(slot);
        return { data: ring.finish() };
      default:
        throw new RangeError(`no such request: ${op}`);
    }
  }

  #create(slot: number, data: CreateData): unknown {
    const memory = this.#tables.get(data.table);
    if (!memory) throw new RangeError(`no memory table ${data.table}`);
    const { log } = this;
    const counters = this.counters.queue(data.index);
    const ring = new HostedRing(data, { loop: this.#loop, log, memory, counters });
    this.#rings.set(slot, ring);
    return ring.pump.deviceQueue;
  }

  #setTable(number: number, regions: TableData): void {
    const table = this.#tables.get(number) ?? new SharedTable();
    this.#tables.set(number, table);
    table.replace(regions);
    this.#left.delete(number);
    for (const { data, pump } of this.#rings.values()) if (data.table === number) pump.rebind();
  }

  #offer(slot: number): void {
    this.#drained.raise(slot);
    signalEventfd(this.link.eventFd);
  }

  #ring(slot: number): HostedRing {
    const ring = this.#rings.get(slot);
    if (!ring) throw new RangeError(`no ring in slot ${slot}`);
    return ring;
  }
}
