import { DmaBuffer } from "../../src/hw/dma-buffer.ts";
import { EPOLLIN, EventLoop } from "../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import type { PciFunction } from "../../src/hw/pci-function.ts";
import { ControlQueue } from "../../src/hw/virtio/control-queue.ts";
import {
  hasFeature,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from "../../src/hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../../src/hw/virtio/negotiate.ts";
import { openVirtio } from "../../src/hw/virtio/open.ts";
import type { VirtioTransport } from "../../src/hw/virtio/transport.ts";
import { RingMemory } from "../support/virtio-driver/driver-ring.ts";
import { frameLabel, NetPair, type PairOptions } from "../support/virtio-driver/net-pair.ts";

/** Clear of the x86 interrupt window and within the narrowest IOMMU. */
export const IOVA = 0x1000_0000n;
const CONTROL_IOVA = 0x2000_0000n;
/** Longest wait for the device, in milliseconds. */
const LIMIT_MS = 10_000;
const MAX_VIRTQUEUE_PAIRS_AT = 8;
const TEST_ETHERTYPE = 0x88b5;

const bit = (n: number) => 1n << BigInt(n);

export interface StartOptions extends PairOptions {
  readonly pairs?: number;
  /** Ring doorbells through eventfds instead of register writes. */
  readonly ioeventfd?: boolean;
}

/** A driver of a network device, for the contract: set-up, kicks, waits, and everything freed by `close`. */
export class Session {
  readonly transport: VirtioTransport;
  readonly offered: bigint;
  /** Queue pairs that the device can have. */
  readonly maxPairs: number;
  features = 0n;
  pairs: NetPair[] = [];
  control: ControlQueue | undefined;
  /** Per data queue: the eventfd that its interrupts signal, and how often it was. */
  readonly calls: { fd: number; count: number }[] = [];
  readonly #kicks: number[] = [];
  readonly #loop = new EventLoop();
  #memory: DmaBuffer | undefined;
  #controlMemory: DmaBuffer | undefined;
  #ioeventfd = false;

  constructor(readonly fn: PciFunction) {
    this.transport = openVirtio(fn);
    this.transport.reset();
    this.offered = this.transport.deviceFeatures();
    const mq = hasFeature(this.offered, VIRTIO_NET_F_MQ);
    const pairs = mq ? this.transport.readConfig(MAX_VIRTQUEUE_PAIRS_AT, 2) : Uint8Array.of(1, 0);
    this.maxPairs = pairs[0]! | (pairs[1]! << 8);
  }

  offers(feature: number): boolean {
    return hasFeature(this.offered, feature);
  }

  /** Negotiates and runs `pairs` pairs with their receive rings filled; may be called again after a reset. */
  start(options: StartOptions = {}): void {
    const count = options.pairs ?? 1;
    const size = options.size ?? 64;
    this.stop();
    this.#ioeventfd = options.ioeventfd ?? false;
    this.features = negotiate(this.transport, this.#wanted(options));
    const buffer = DmaBuffer.create(this.fn.dma, IOVA, count * NetPair.BYTES, "contract");
    this.#memory = buffer;
    const memory = new RingMemory(buffer);
    this.pairs = Array.from(
      { length: count },
      (_, i) => new NetPair(memory, i * NetPair.BYTES, { ...options, size }),
    );
    this.fn.enableMsix(2 * count + 1);
    for (const [i, pair] of this.pairs.entries()) {
      for (const [side, ring] of [pair.rx, pair.tx].entries()) this.#setUp(2 * i + side, ring);
    }
    if (hasFeature(this.features, VIRTIO_NET_F_CTRL_VQ)) this.#startControl();
    setDriverOk(this.transport);
    if (count > 1) this.control!.setQueuePairs(count);
    for (const [i, pair] of this.pairs.entries()) {
      pair.offer();
      if (pair.rx.publish()) this.kick(2 * i);
    }
  }

  kick(queue: number): void {
    if (this.#ioeventfd) {
      signalEventfd(this.#kicks[queue]!);
      return;
    }
    const { region, offset, width, value } = this.transport.doorbell(queue);
    this.fn.write(region, offset, width, value);
  }

  /** Test frames that have arrived on a pair, with its receive ring filled up again. */
  receive(pair: number): Uint8Array[] {
    const net = this.pairs[pair]!;
    const frames = net.receive();
    if (net.offer() > 0 && net.rx.publish()) this.kick(2 * pair);
    // A real wire may carry something else too.
    return frames.map(({ frame }) => frame).filter((frame) => etherType(frame) === TEST_ETHERTYPE);
  }

  /**
   * Sends frames, a few at a time, and collects as many, on whatever pair they arrive; in the order of their numbers.
   * Frames with a lower number than the first are left overs of an earlier exchange.
   */
  exchange(frames: readonly { pair: number; frame: Uint8Array }[]): { pair: number; frame: Uint8Array }[] {
    const arrived: { pair: number; frame: Uint8Array }[] = [];
    const oldest = Math.min(...frames.map(({ frame }) => frameLabel(frame).number));
    const window = 32;
    let sent = 0;
    this.waitFor(() => {
      const touched = new Set<number>();
      while (sent < frames.length && sent - arrived.length < window) {
        const { pair, frame } = frames[sent]!;
        if (!this.pairs[pair]!.send(frame)) break;
        touched.add(pair);
        sent++;
      }
      for (const pair of touched) if (this.pairs[pair]!.tx.publish()) this.kick(2 * pair + 1);
      for (const pair of this.pairs.keys()) {
        const fresh = this.receive(pair).filter((frame) => frameLabel(frame).number >= oldest);
        arrived.push(...fresh.map((frame) => ({ pair, frame })));
      }
      return arrived.length >= frames.length;
    });
    return arrived.toSorted((a, b) => frameLabel(a.frame).number - frameLabel(b.frame).number);
  }

  /** Waits, by interrupts of the receive rings, until `done`. Throws when that takes too long. */
  waitFor(done: () => boolean): void {
    const deadline = performance.now() + LIMIT_MS;
    while (!done()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`nothing more happened within ${LIMIT_MS / 1000} s`);
      const ready = this.pairs.some(({ rx, tx }) => [rx.armInterrupt(), tx.armInterrupt()].some(Boolean));
      if (!ready) this.#loop.runOnce(left);
    }
    this.#loop.runOnce(0);
  }

  /** Waits for the first interrupt of a queue. It must have been armed before what it is to tell of happened. */
  awaitInterrupt(queue: number): void {
    const deadline = performance.now() + LIMIT_MS;
    while (this.calls[queue]!.count === 0) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`queue ${queue} did not interrupt within ${LIMIT_MS / 1000} s`);
      this.#loop.runOnce(left);
    }
  }

  /** Resets the device and frees all that `start` made. */
  stop(): void {
    this.transport.reset();
    this.#release();
  }

  close(): void {
    this.stop();
    this.#loop.close();
    this.fn.close();
  }

  #wanted(options: StartOptions): bigint {
    const wanted =
      bit(VIRTIO_NET_F_MAC) |
      bit(VIRTIO_NET_F_CTRL_VQ) |
      bit(VIRTIO_NET_F_CTRL_RX) |
      bit(VIRTIO_NET_F_CTRL_MAC_ADDR) |
      bit(VIRTIO_F_RING_RESET) |
      (this.maxPairs > 1 ? bit(VIRTIO_NET_F_MQ) : 0n);
    return (
      wanted |
      (options.packed ? bit(VIRTIO_F_RING_PACKED) : 0n) |
      (options.eventIdx ? bit(VIRTIO_RING_F_EVENT_IDX) : 0n) |
      (options.indirect ? bit(VIRTIO_RING_F_INDIRECT_DESC) : 0n)
    );
  }

  #setUp(index: number, ring: NetPair["rx"]): void {
    const call = { fd: createEventfd(), count: 0 };
    this.calls[index] = call;
    this.#loop.add(call.fd, EPOLLIN, () => {
      call.count += Number(drainEventfd(call.fd));
    });
    this.fn.setVector(index + 1, call.fd);
    const { size, desc, driver, device } = ring;
    this.transport.setupQueue(index, { size, desc, driver, device, vector: index + 1 });
    this.transport.enableQueue(index);
    if (!this.#ioeventfd) return;
    this.#kicks[index] = createEventfd();
    this.fn.bindDoorbell(this.transport.doorbell(index), this.#kicks[index]!);
  }

  #startControl(): void {
    const index = hasFeature(this.features, VIRTIO_NET_F_MQ) ? 2 * this.maxPairs : 2;
    const { transport, features, fn } = this;
    const size = ControlQueue.memorySize(transport, index, features);
    const memory = DmaBuffer.create(fn.dma, CONTROL_IOVA, size, "control");
    this.#controlMemory = memory;
    this.control = ControlQueue.create(transport, { index, features, memory });
  }

  #release(): void {
    this.fn.disableMsix();
    for (const [i, fd] of this.#kicks.entries()) {
      if (fd === undefined) continue;
      this.fn.unbindDoorbell(this.transport.doorbell(i));
      closeFd(fd);
    }
    this.#kicks.length = 0;
    for (const { fd } of this.calls) {
      this.#loop.remove(fd);
      closeFd(fd);
    }
    this.calls.length = 0;
    this.#memory?.close();
    this.#controlMemory?.close();
    this.#memory = undefined;
    this.#controlMemory = undefined;
    this.control = undefined;
    this.pairs = [];
  }
}

const etherType = (frame: Uint8Array) => (frame[12]! << 8) | frame[13]!;
