import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import type { Log } from "../../../src/hw/log.ts";
import type { SimFunction } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import { openVirtio } from "../../../src/hw/virtio/open.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { Counters } from "../../../src/vdpa/counters.ts";
import { VirtioNetDevice } from "../../../src/vdpa/net-device.ts";
import type { DatapathPolicy } from "../../../src/vdpa/ring.ts";
import type { VringConfig } from "../../../src/vdpa/vdpa-device.ts";
import { checkFrame, ETHER_TYPE, writeFrame } from "../../support/front-end/frame.ts";
import { createRegions, qemuLayout, type Region } from "../../support/front-end/guest-memory.ts";
import { NetPair, type NetQueue } from "../../support/front-end/net-pair.ts";
import type { Layout } from "../../support/front-end/packet-buffer.ts";
import { LOG_BYTES, type PageLog } from "../../support/front-end/page-log.ts";
import {
  type StartedRelayThreads,
  startRelayThreads,
} from "../../support/relay-threads/start-relay-threads.ts";
import { startSim } from "../../support/virtio-driver/start-sim.ts";
import { keptLog } from "./fake-function.ts";

export interface StageOptions {
  readonly packed?: boolean;
  readonly eventIdx?: boolean;
  readonly datapath?: DatapathPolicy;
  readonly layouts?: readonly Layout[];
  readonly transmitLayouts?: readonly Layout[];
  readonly size?: number;
  /** Relay threads; with none the stage's own thread moves entries. */
  readonly relayThreads?: number;
  /** Longest wait for an answer of a relay thread. */
  readonly threadLimitMs?: number;
  /** How long the device may take to answer, in milliseconds. */
  readonly limitMs?: number;
  /** The same for a command of its control queue. */
  readonly controlLimitMs?: number;
}

const QUIET_MS = 100;
const PATIENCE_MS = 20_000;
const bit = (n: number) => 1n << BigInt(n);

/** A device with one pair on a simulated function, and its driver, in one thread. */
export class RelayStage {
  readonly loop = new EventLoop();
  fn: SimFunction;
  readonly lines: string[];
  readonly #log: Log;
  readonly counters = new Counters();
  readonly memory: GuestMemory;
  device: VirtioNetDevice;
  readonly pair: NetPair;
  readonly regions: Region[];
  /** Frames that came back and were not sent by the driver. */
  readonly foreign: Buffer[] = [];
  readonly relayThreads: StartedRelayThreads | undefined;
  /** Where the next start begins, by queue. */
  readonly bases: number[];
  readonly #ended: Promise<void>[] = [];
  readonly #functions: SimFunction[] = [];
  readonly #limitMs: number;
  readonly #controlLimitMs: number | undefined;
  readonly #datapath: DatapathPolicy;
  readonly #features: bigint;
  readonly #scratch = Buffer.alloc(2048);
  readonly #seen = new Set<number>();
  #sent = 0;
  #duplicates = 0;

  constructor(options: StageOptions, sim: SimOptions) {
    const { packed = false, eventIdx = false, datapath = "auto", size = 64 } = options;
    this.#limitMs = options.limitMs ?? 5000;
    this.#controlLimitMs = options.controlLimitMs;
    this.#datapath = datapath;
    const { log, lines } = keptLog();
    this.lines = lines;
    this.#log = log;
    this.fn = this.#startFunction(sim);
    this.memory = new GuestMemory(this.fn.dma, { log });
    this.regions = createRegions(qemuLayout(1 << 21));
    this.memory.replaceAll(this.regions);
    this.relayThreads = options.relayThreads
      ? startRelayThreads(options.relayThreads, this.loop, this.counters, options.threadLimitMs)
      : undefined;
    this.device = this.open(this.fn);
    const layouts = options.layouts ?? ["single", "chain", "indirect"];
    const { transmitLayouts } = options;
    this.pair = new NetPair(this.regions, 0, { size, packed, eventIdx, layouts, transmitLayouts });
    this.bases = this.pair.queues.map(({ ring }) => ring.freshBase);
    this.#features =
      bit(F.VIRTIO_F_VERSION_1) |
      bit(F.VIRTIO_NET_F_MRG_RXBUF) |
      bit(F.VIRTIO_RING_F_INDIRECT_DESC) |
      (packed ? bit(F.VIRTIO_F_RING_PACKED) : 0n) |
      (eventIdx ? bit(F.VIRTIO_RING_F_EVENT_IDX) : 0n);
    this.pair.refill();
  }

  #startFunction(sim: SimOptions): SimFunction {
    const { fn, ended } = startSim({ pairs: 1, ...sim });
    this.#functions.push(fn);
    this.#ended.push(ended);
    return fn;
  }

  /** Another device on a simulated function of its own, in the same guest memory, which is not mapped there yet. */
  another(sim: SimOptions = {}, datapath?: DatapathPolicy): { fn: SimFunction; device: VirtioNetDevice } {
    const fn = this.#startFunction(sim);
    return { fn, device: this.open(fn, datapath) };
  }

  open(fn: SimFunction, datapath = this.#datapath): VirtioNetDevice {
    return new VirtioNetDevice(openVirtio(fn, this.#log, { limitMs: this.#limitMs }), {
      loop: this.loop,
      log: this.#log,
      counters: this.counters,
      memory: this.memory,
      queuePairs: undefined,
      featuresMask: ~0n,
      doorbells: "auto",
      datapath,
      relayThreads: this.relayThreads?.threads,
      controlLimitMs: this.#controlLimitMs,
    });
  }

  /** A queue as a session gives it to the device. */
  vring({ index, ring, kickFd, callFd }: NetQueue): VringConfig {
    return {
      index,
      size: ring.size,
      descGpa: ring.desc.gpa,
      driverGpa: ring.avail.gpa,
      deviceGpa: ring.used.gpa,
      base: this.bases[index]!,
      kickFd,
      callFd,
      enabled: true,
    };
  }

  start(): void {
    this.device.configure(
      this.#features,
      this.pair.queues.map((queue) => this.vring(queue)),
    );
  }

  /** Stops both rings as a session does, and remembers where. */
  stop(): void {
    for (const { index } of this.pair.queues) this.bases[index] = this.device.stopVring(index);
    this.device.stop();
  }

  restart(index: 0 | 1): void {
    this.bases[index] = this.device.stopVring(index);
    this.device.startVring(this.vring(this.pair.queues[index]));
  }

  /** Logs what the device writes from now on into a new bitmap. */
  logTo(pages: PageLog): DirtyLog {
    const log = DirtyLog.map(pages.fd, BigInt(LOG_BYTES), 0n);
    const usedRings = new Map(this.pair.queues.map(({ index, ring }) => [index, ring.used.gpa]));
    this.device.setLogging({ log, data: true, usedRings });
    return log;
  }

  /** Faults of both rings. */
  get ringFaults(): number {
    return this.pair.queues.reduce(
      (sum, { index }) => sum + this.counters.queue(index).get("ring_faults"),
      0,
    );
  }

  get outstandingTx(): number {
    return this.pair.tx.ring.outstanding;
  }

  /** Puts frames into the transmit ring, as far as there is room; how many. */
  send(frames: number): number {
    let n = 0;
    for (; n < frames; n++) {
      const frame = writeFrame(this.#scratch, 0, this.#sent, 60 + ((this.#sent * 97) % 1400));
      if (!this.pair.transmit(frame)) break;
      this.#sent++;
    }
    this.pair.tx.flush();
    return n;
  }

  /** Serves what has happened and takes what came back; whether anything did. */
  turn(): boolean {
    for (const { ring } of this.pair.queues) ring.arm();
    this.loop.runOnce(1);
    const reclaimed = this.pair.reclaim();
    const received = this.pair.receive((frame) => {
      if (frame.readUInt16BE(12) !== ETHER_TYPE) {
        this.foreign.push(Buffer.from(frame));
        return;
      }
      const sequence = checkFrame(frame, 0, "loopback");
      if (typeof sequence === "string") throw new Error(sequence);
      if (this.#seen.has(sequence)) this.#duplicates++;
      this.#seen.add(sequence);
    });
    return reclaimed + received > 0;
  }

  /** Sends so many frames without receiving, or until the wire is full and the device takes nothing more. */
  flood(frames = Number.POSITIVE_INFINITY): void {
    let left = frames;
    // The device may be slow to take what it does take; that it takes nothing more only a pause can show.
    const patienceMs = Number.isFinite(frames) ? PATIENCE_MS : QUIET_MS;
    for (let last = performance.now(); performance.now() - last < patienceMs; ) {
      this.loop.runOnce(1);
      const sent = this.send(Math.min(left, 1));
      left -= sent;
      if (sent + this.pair.reclaim() > 0) last = performance.now();
      if (left === 0 && this.outstandingTx === 0) return;
    }
  }

  /** Until nothing moves any more. */
  settle(): void {
    for (let last = performance.now(); performance.now() - last < QUIET_MS; ) {
      if (this.turn()) last = performance.now();
    }
  }

  report(): { lost: number; duplicates: number } {
    return { lost: this.#sent - this.#seen.size, duplicates: this.#duplicates };
  }

  /** Sends so many frames and waits for them; what went wrong meanwhile. */
  pass(frames: number): { lost: number; duplicates: number } {
    const before = this.report();
    const deadline = performance.now() + PATIENCE_MS;
    for (let left = frames; left > 0 || this.outstandingTx > 0 || this.report().lost > before.lost; ) {
      if (this.report().lost - before.lost < 16) left -= this.send(Math.min(left, 8));
      this.turn();
      if (performance.now() > deadline) break;
    }
    const { lost, duplicates } = this.report();
    return { lost: lost - before.lost, duplicates: duplicates - before.duplicates };
  }

  async close(): Promise<void> {
    this.device.close();
    this.memory.clear();
    for (const fn of this.#functions) fn.close();
    await Promise.all(this.#ended);
    this.relayThreads?.threads.close();
    await this.relayThreads?.ended;
    this.loop.close();
    this.pair.close();
    for (const region of this.regions) region.close();
  }
}
