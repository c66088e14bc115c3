import { EPOLLIN, EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { Channel } from "./channel.ts";
import { FrontEnd } from "./front-end.ts";
import { createRegions, dpdkLayout, qemuLayout, type Region, type RegionPlan } from "./guest-memory.ts";
import { NetPair, type NetQueue } from "./net-pair.ts";
import type { Layout } from "./packet-buffer.ts";
import { LOG_BYTES, type PageLog } from "./page-log.ts";
import { Feature, Protocol, Request, words } from "./protocol.ts";
import { dpdk, type Machine, qemu, type Sequence } from "./sequences.ts";
import { turn } from "./wait.ts";

export interface GuestOptions {
  /** Socket of a listening back-end; or give `channel`. */
  readonly socketPath?: string;
  /** A connection that exists already, for a back-end in the client role. */
  readonly channel?: Channel;
  /** Queue pairs that are set up (1). */
  readonly pairs?: number;
  /** Of these, pairs enabled at the start (all). */
  readonly enabledPairs?: number;
  /** Entries per ring (256). */
  readonly ringSize?: number;
  readonly packed?: boolean;
  readonly eventIdx?: boolean;
  /** A driver from before virtio 1.0: without VERSION_1, its rings in one piece (false). */
  readonly legacy?: boolean;
  readonly indirect?: boolean;
  /** MRG_RXBUF where offered (true). Every buffer holds a whole frame either way. */
  readonly mergeable?: boolean;
  /** Layouts of packet buffers in turn; indirect ones are used only where negotiated. */
  readonly layouts?: readonly Layout[];
  readonly transmitLayouts?: readonly Layout[];
  /** Whose order of messages to follow (qemu). */
  readonly like?: "qemu" | "dpdk";
  /** Protocol features not to take although offered. */
  readonly without?: bigint;
  /** Memory regions instead of the usual ones of this kind of front-end. */
  readonly memory?: readonly RegionPlan[];
  /** Whether its files can be kept from shrinking (true). */
  readonly sealable?: boolean;
  /** Regions that exist already; the guest closes their maps and fds. */
  readonly regions?: Region[];
  /** SET_VRING_BASE of every ring instead of a fresh ring's. */
  readonly base?: number;
}

const WANTED_PROTOCOL = {
  qemu:
    Protocol.MQ |
    Protocol.LOG_SHMFD |
    Protocol.RARP |
    Protocol.REPLY_ACK |
    Protocol.MTU |
    Protocol.RESET_DEVICE |
    Protocol.CONFIGURE_MEM_SLOTS |
    Protocol.STATUS,
  dpdk: Protocol.MQ | Protocol.REPLY_ACK | Protocol.STATUS,
};

/** A guest with a virtio-net device behind a vhost-user back-end, in this process. */
export class Guest {
  readonly pairs: NetPair[];
  readonly machine: Machine;
  /** Features of the session. */
  features = 0n;
  readonly #sequence: Sequence;
  readonly #loop = new EventLoop();
  #open = true;
  /** Interrupts taken, per virtqueue. */
  readonly interrupts: number[] = [];

  private constructor(
    public fe: FrontEnd,
    readonly regions: Region[],
    options: GuestOptions,
  ) {
    const { pairs = 1, packed = false, eventIdx = false, indirect = false, mergeable = true } = options;
    const { like = "qemu", legacy = false } = options;
    const layouts = (options.layouts ?? ["single", "chain", "indirect"]).filter(
      (layout) => layout !== "indirect" || indirect,
    );
    const { transmitLayouts } = options;
    const ring = { size: options.ringSize ?? 256, packed, eventIdx, legacy, layouts, transmitLayouts };
    this.pairs = Array.from({ length: pairs }, (_, i) => new NetPair(regions, i, ring));
    this.#sequence = like === "qemu" ? qemu : dpdk;
    const { VERSION_1, MAC, MRG_RXBUF, STATUS, MQ, CTRL_VQ, EVENT_IDX, INDIRECT_DESC, RING_PACKED } = Feature;
    const { ANY_LAYOUT } = Feature;
    this.machine = {
      regions: this.regions,
      queues: this.pairs.flatMap((pair) => pair.queues),
      enabledPairs: options.enabledPairs ?? pairs,
      packed,
      base: options.base,
      wanted:
        (legacy ? ANY_LAYOUT : VERSION_1) |
        MAC |
        STATUS |
        (mergeable ? MRG_RXBUF : 0n) |
        (pairs > 1 ? MQ | CTRL_VQ : 0n) |
        (eventIdx ? EVENT_IDX : 0n) |
        (indirect ? INDIRECT_DESC : 0n) |
        (packed ? RING_PACKED : 0n),
      wantedProtocol: WANTED_PROTOCOL[like] & ~(options.without ?? 0n),
    };
    for (const queue of this.machine.queues) this.#watch(queue);
  }

  /** Connects and negotiates, but starts nothing. */
  static async connect(options: GuestOptions): Promise<Guest> {
    const { pairs = 1, ringSize = 256 } = options;
    const channel = options.channel ?? (await Channel.connect(options.socketPath!));
    // 2 rings of buffers of 2 KiB and a table each, spread over the regions, with room to spare.
    const bytes = Math.ceil((pairs * 2 * ringSize * 2304 + (1 << 20)) / (1 << 21)) * (1 << 21);
    const layout = options.like === "dpdk" ? dpdkLayout(bytes) : qemuLayout(bytes);
    const regions = options.regions ?? createRegions(options.memory ?? layout, options.sealable);
    const guest = new Guest(new FrontEnd(channel), regions, options);
    try {
      guest.features = await guest.#sequence.connect(guest.fe, guest.machine);
      const missing = guest.machine.wanted & ~guest.features & (Feature.RING_PACKED | Feature.VERSION_1);
      if (missing !== 0n) throw new Error(`the back-end does not offer features 0x${missing.toString(16)}`);
    } catch (error) {
      guest.close();
      throw error;
    }
    return guest;
  }

  /** Starts the device and offers all receive buffers. */
  async start(): Promise<void> {
    await this.#sequence.start(this.fe, this.machine, this.features);
    for (const pair of this.pairs) pair.refill();
  }

  /** Switches logging as QEMU does for a migration: on with a bitmap, off without one. */
  async setLogging(log: PageLog | undefined, bytes = BigInt(LOG_BYTES)): Promise<void> {
    if (log) await this.fe.call(Request.SET_LOG_BASE, words(bytes, BigInt(log.offset)), [log.fd]);
    await this.fe.setFeatures(log ? this.features | Feature.LOG_ALL : this.features);
    for (const { index, ring } of this.machine.queues) {
      await this.fe.setVringAddr(index, {
        flags: log ? 1 : 0,
        descUva: ring.desc.uva,
        usedUva: ring.used.uva,
        availUva: ring.avail.uva,
        logGpa: ring.used.gpa,
      });
    }
  }

  /** Negotiates on a new connection of the same guest, whose rings stay as they are; `resume` starts them. */
  async reconnect(channel: Channel): Promise<void> {
    this.fe.close();
    this.fe = new FrontEnd(channel);
    this.features = await this.#sequence.connect(this.fe, this.machine);
  }

  /** Stops all rings and resets the device, but the driver keeps its rings: QEMU's `stop`. */
  async pause(): Promise<void> {
    this.machine.bases = await this.#sequence.stop(this.fe, this.machine);
  }

  /** Goes on where `pause` left the rings, or where another front-end did: QEMU's `cont`. */
  async resume(bases = this.machine.bases): Promise<void> {
    this.machine.bases = bases;
    await this.#sequence.start(this.fe, this.machine, this.features);
    this.machine.bases = undefined;
  }

  /** Stops all rings and resets the device, as a driver's unload does; returns the rings' positions. */
  async stop(): Promise<number[]> {
    const bases = await this.#sequence.stop(this.fe, this.machine);
    for (const queue of this.machine.queues) queue.reset();
    return bases;
  }

  /** Enables or disables both rings of a pair. */
  async setPairEnabled(pair: number, on: boolean): Promise<void> {
    for (const queue of this.pairs[pair]!.queues) await this.fe.setVringEnable(queue.index, on);
    await this.fe.barrier();
  }

  /** Gives the back-end a new kick eventfd for a running ring. */
  async replaceKick(queue: NetQueue): Promise<void> {
    const old = queue.kickFd;
    const next = createEventfd();
    await this.fe.setVringFd(Request.SET_VRING_KICK, queue.index, next);
    await this.fe.barrier();
    queue.kickFd = next;
    closeFd(old);
    // Kicks on the old one after the back-end let go of it are lost.
    queue.signal();
  }

  /** Gives the back-end a new call eventfd for a running ring. */
  async replaceCall(queue: NetQueue): Promise<void> {
    const old = queue.callFd;
    queue.callFd = createEventfd();
    this.#watch(queue);
    await this.fe.setVringFd(Request.SET_VRING_CALL, queue.index, queue.callFd);
    await this.fe.barrier();
    this.#loop.remove(old);
    closeFd(old);
  }

  /** Sleeps until an interrupt, for at most a few milliseconds; not at all when something is there already. */
  async idle(): Promise<void> {
    let busy = false;
    for (const { ring } of this.machine.queues) busy = ring.arm() || busy;
    this.#loop.runOnce(busy ? 0 : 5);
    await turn();
  }

  /** Closes the connection and frees everything. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.fe.close();
    for (const pair of this.pairs) pair.close();
    this.#loop.close();
    for (const region of this.regions) region.close();
  }

  #watch(queue: NetQueue): void {
    const { callFd, index } = queue;
    this.#loop.add(callFd, EPOLLIN, () => {
      drainEventfd(callFd);
      this.interrupts[index] = (this.interrupts[index] ?? 0) + 1;
    });
  }
}

/** A guest with a running device. */
export async function connectGuest(options: GuestOptions): Promise<Guest> {
  const guest = await Guest.connect(options);
  try {
    await guest.start();
  } catch (error) {
    guest.close();
    throw error;
  }
  return guest;
}
