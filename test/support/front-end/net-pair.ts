import { createEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import type { DriverRing } from "./driver-ring.ts";
import type { Region } from "./guest-memory.ts";
import { PackedRing } from "./packed-ring.ts";
import { type Layout, NET_HEADER, PacketBuffer } from "./packet-buffer.ts";
import { SplitRing } from "./split-ring.ts";

export interface RingOptions {
  readonly size: number;
  readonly packed: boolean;
  readonly eventIdx: boolean;
  /** Split rings in one piece, as legacy devices want them. */
  readonly legacy?: boolean;
  /** Layouts that packet buffers take in turn. */
  readonly layouts: readonly Layout[];
  /** The same for transmit queues alone. */
  readonly transmitLayouts?: readonly Layout[] | undefined;
}

/** One virtqueue of the guest: its ring, its eventfds and its packet buffers. */
export class NetQueue {
  readonly ring: DriverRing<PacketBuffer>;
  kickFd = createEventfd();
  callFd = createEventfd();
  readonly buffers: PacketBuffer[];
  /** What SET_VRING_NUM says; a lie in tests of bad input. */
  announcedSize: number;
  /** Buffers that are not in the ring. */
  readonly idle: PacketBuffer[] = [];
  kicks = 0;

  /** @param index virtqueue index; even ones receive (virtio 1.3 §5.1.2) */
  constructor(
    regions: readonly Region[],
    readonly index: number,
    { size, packed, eventIdx, legacy, layouts: all, transmitLayouts = all }: RingOptions,
  ) {
    const receives = index % 2 === 0;
    const layouts = receives ? all : transmitLayouts;
    const region = regions[index % regions.length]!;
    this.announcedSize = size;
    this.ring = packed
      ? new PackedRing(region, size, eventIdx)
      : new SplitRing(region, size, eventIdx, legacy);
    // Ring and buffers in different regions, so that every address needs its own translation.
    this.buffers = Array.from({ length: size }, (_, i) => {
      const holder = regions[(index + i) % regions.length]!;
      return new PacketBuffer(holder, layouts[i % layouts.length]!, receives);
    });
    this.reset();
  }

  /** Makes everything added visible and kicks the device where it wants to be. */
  flush(): void {
    if (!this.ring.publish()) return;
    this.signal();
  }

  /** Kicks the device, wanted or not. */
  signal(): void {
    this.kicks++;
    signalEventfd(this.kickFd);
  }

  /** A new ring with all buffers idle. */
  reset(): void {
    this.ring.reset();
    this.idle.length = 0;
    this.idle.push(...this.buffers);
  }

  close(): void {
    closeFd(this.kickFd);
    closeFd(this.callFd);
  }
}

/** A receive and a transmit queue. */
export class NetPair {
  readonly rx: NetQueue;
  readonly tx: NetQueue;
  readonly #scratch = Buffer.alloc(4096);

  constructor(
    regions: readonly Region[],
    readonly index: number,
    options: RingOptions,
  ) {
    this.rx = new NetQueue(regions, 2 * index, options);
    this.tx = new NetQueue(regions, 2 * index + 1, options);
  }

  get queues(): readonly [NetQueue, NetQueue] {
    return [this.rx, this.tx];
  }

  /** Gives all idle receive buffers that fit to the device. */
  refill(): void {
    const { idle, ring } = this.rx;
    while (idle.length > 0) {
      const buffer = idle[idle.length - 1]!;
      buffer.offer();
      if (!ring.fits(buffer.chain)) break;
      idle.pop();
      ring.add(buffer.chain, buffer);
    }
    this.rx.flush();
  }

  /** Puts a frame into the transmit ring; false when it is full. `tx.flush` sends. */
  transmit(frame: Buffer): boolean {
    const { idle, ring } = this.tx;
    const buffer = idle[idle.length - 1];
    if (!buffer) return false;
    buffer.fill(frame);
    if (!ring.fits(buffer.chain)) return false;
    idle.pop();
    ring.add(buffer.chain, buffer);
    return true;
  }

  /** Sends from now on out of buffers in this region only; the others must be idle. */
  useTransmitBuffersIn(region: Region): void {
    this.reclaim();
    const count = Math.min(this.tx.idle.length, 64);
    const fresh = Array.from({ length: count }, () => new PacketBuffer(region, "single", false));
    this.tx.idle.splice(0, this.tx.idle.length, ...fresh);
  }

  /** Takes back transmitted buffers; returns how many. */
  reclaim(): number {
    let n = 0;
    for (let used = this.tx.ring.take(); used; used = this.tx.ring.take()) {
      this.tx.idle.push(used.token);
      n++;
    }
    return n;
  }

  /**
   * Hands every received frame to `accept`, for the duration of the call, and gives the buffers back.
   * Throws when a header or length is not what virtio 1.3 §5.1.6.4 asks for.
   */
  receive(accept: (frame: Buffer) => void): number {
    let n = 0;
    for (let used = this.rx.ring.take(); used; used = this.rx.ring.take()) {
      const { token: buffer, length } = used;
      if (length < NET_HEADER) throw new Error(`used length ${length} is shorter than the header`);
      if (buffer.numBuffers !== 1) throw new Error(`num_buffers is ${buffer.numBuffers}`);
      accept(buffer.read(length, this.#scratch));
      this.rx.idle.push(buffer);
      n++;
    }
    if (n > 0) this.refill();
    return n;
  }

  close(): void {
    this.rx.close();
    this.tx.close();
  }
}
