import { DmaBuffer } from "../hw/dma-buffer.ts";
import type { EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import { ControlQueue } from "../hw/virtio/control-queue.ts";
import * as F from "../hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../hw/virtio/negotiate.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import type { Counters } from "./counters.ts";
import { DeviceHealth } from "./device-health.ts";
import { type DoorbellPolicy, Doorbells } from "./doorbells.ts";
import { wantedFromDevice } from "./feature-sets.ts";
import { Interrupts } from "./interrupts.ts";
import { NetControl } from "./net-control.ts";
import type { RelayThreads } from "./relay-threads/relay-threads.ts";
import { type DatapathPolicy, logQueue, type Ring } from "./ring.ts";
import { RingFactory } from "./ring-factory.ts";
import { SwitchTimes } from "./switch-times.ts";
import type { VringConfig } from "./vdpa-device.ts";

export interface DeviceRunOptions {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
  readonly memory: GuestMemory;
  readonly doorbells: DoorbellPolicy;
  readonly datapath: DatapathPolicy;
  /** Threads that move the entries of relayed rings; this thread does where there are none. */
  readonly relayThreads?: RelayThreads | undefined;
  /** Longest time in milliseconds for one command of the device's control queue, 5000 by default. */
  readonly controlLimitMs?: number | undefined;
  /** What there is to tell of the device or its rings has changed without having been asked for. */
  readonly onChange?: (() => void) | undefined;
}

/** What the device has, as read at its opening. */
export interface DeviceTraits {
  readonly features: bigint;
  /** Queue pairs of the device, which tell where its control queue is. */
  readonly pairs: number;
  /** Data queues that are served. */
  readonly maxQueues: number;
}

/** A network device from its start to its reset, with the rings that it was given. */
export class DeviceRun {
  readonly rings = new Map<number, Ring>();
  readonly factory: RingFactory;
  readonly doorbells: Doorbells;
  readonly interrupts: Interrupts;
  readonly control: NetControl;
  readonly log: Log;
  readonly memory: GuestMemory;
  /** How long rings stood still on their moves. */
  readonly switches: SwitchTimes;
  readonly onChange: () => void;
  readonly #counters: Counters;
  readonly #controlLimitMs: number | undefined;
  readonly #health: DeviceHealth;
  #controlQueue: { readonly index: number; readonly size: number } | undefined;
  #startMs: number | undefined;
  #controlBuffer: DmaBuffer | undefined;
  /** What the front-end chose at the last start, and what was negotiated with the device. */
  #chosen = 0n;
  #negotiated = 0n;
  #live = false;
  /** It did not follow its last reset and was not started since. */
  #stuck = false;

  /** @param onDrained takes over a relayed ring whose position lets the device work on it itself */
  constructor(
    readonly transport: VirtioTransport,
    readonly traits: DeviceTraits,
    options: DeviceRunOptions,
    onDrained: (ring: Ring) => void,
  ) {
    const { loop, log, counters } = options;
    this.log = log;
    this.memory = options.memory;
    this.#counters = counters;
    this.#controlLimitMs = options.controlLimitMs;
    this.switches = new SwitchTimes(counters);
    this.onChange = options.onChange ?? (() => {});
    this.doorbells = new Doorbells(transport.fn, loop, log, options.doorbells, (queue) =>
      counters.queue(queue).add("kicks_relayed"),
    );
    this.interrupts = new Interrupts(
      transport.fn,
      loop,
      log,
      () => {
        this.onChange();
        this.#health.onConfigInterrupt(this.#negotiated);
      },
      (queue) => this.#countSharedCall(queue),
    );
    this.control = new NetControl(log);
    this.#health = new DeviceHealth(transport, log, counters);
    this.factory = new RingFactory(
      { ...options, transport, doorbells: this.doorbells, interrupts: this.interrupts },
      options.datapath,
      onDrained,
    );
  }

  /** What a relayed ring makes of the interrupt is counted where its entries are moved, in that thread alone. */
  #countSharedCall(queue: number): void {
    if (this.rings.get(queue)?.mode === "direct") this.#counters.queue(queue).add("calls_relayed");
  }

  /** Started and not reset since. */
  get live(): boolean {
    return this.#live;
  }

  /** Negotiated with the device at the last start. */
  get negotiated(): bigint {
    return this.#negotiated;
  }

  /** Chosen by the front-end at the last start. */
  get chosen(): bigint {
    return this.#chosen;
  }

  /** The device's own control queue, as far as it is in use. */
  get controlQueue(): { readonly index: number; readonly size: number } | undefined {
    return this.#controlQueue;
  }

  /** What the last start took, up to DRIVER_OK and the active pairs, in ms. */
  get startMs(): number | undefined {
    return this.#startMs;
  }

  /** Undefined where the device does not tell, or does not run. */
  get linkUp(): boolean | undefined {
    return this.#live ? this.#health.linkUp : undefined;
  }

  /** Whether single queues can be reset. */
  get resetsQueues(): boolean {
    return F.hasFeature(this.#negotiated, F.VIRTIO_F_RING_RESET);
  }

  start(features: bigint, vrings: readonly VringConfig[]): void {
    const started = performance.now();
    const wanted = wantedFromDevice(features, this.traits.features);
    if (this.transport.layout === "modern" && !F.hasFeature(features, F.VIRTIO_F_VERSION_1)) {
      throw new OperatorError("the guest's driver did not accept VIRTIO_F_VERSION_1", {
        why: "its packet headers would have another length than the device's",
        remedy: "use a modern virtio driver in the guest (in QEMU: disable-legacy=on)",
        kind: "protocol",
      });
    }
    this.#stuck = false;
    const accepted = negotiate(this.transport, wanted);
    this.#chosen = features;
    this.#negotiated = accepted;
    this.#live = true;
    const multiqueue = F.hasFeature(accepted, F.VIRTIO_NET_F_MQ);
    const control = this.#setUpControlQueue(accepted, multiqueue ? 2 * this.traits.pairs : 2);
    this.interrupts.enable(this.traits.maxQueues);
    this.transport.setConfigVector(this.interrupts.configVector);
    for (const vring of vrings) this.setUpRing(vring);
    setDriverOk(this.transport);
    this.control.start(control, { multiqueue, rxMode: F.hasFeature(accepted, F.VIRTIO_NET_F_CTRL_RX) });
    this.control.setEnabled(vrings.map((vring) => [vring.index, vring.enabled]));
    for (const ring of this.rings.values()) ring.connect();
    this.#health.onStart(accepted);
    this.#startMs = performance.now() - started;
    const ms = this.#startMs.toFixed(1);
    this.log.info(`${this.transport.fn.name} runs with ${vrings.length} rings after ${ms} ms`, {
      event: "device_started",
      device: this.transport.fn.name,
      rings: vrings.length,
      start_ms: Number(ms),
    });
    for (const ring of this.rings.values()) logQueue(this.log, ring.state());
  }

  #setUpControlQueue(accepted: bigint, index: number): ControlQueue | undefined {
    if (!F.hasFeature(accepted, F.VIRTIO_NET_F_CTRL_VQ)) return undefined;
    const { dma } = this.transport.fn;
    const size = ControlQueue.memorySize(this.transport, index, accepted);
    const iova = allocateIova(dma, this.memory, size);
    this.#controlBuffer = DmaBuffer.create(dma, iova, size, "vdpactl-control-queue");
    this.memory.reserve(iova, iova + BigInt(size) - 1n);
    const memory = this.#controlBuffer;
    const limitMs = this.#controlLimitMs;
    const queue = ControlQueue.create(this.transport, { index, features: accepted, memory, limitMs });
    this.#controlQueue = { index, size: queue.size };
    return queue;
  }

  /** Gives a ring to the device, direct or relayed as the factory decides. `connect` has to follow. */
  setUpRing(vring: VringConfig): Ring {
    const ring = this.factory.create(vring, this.#negotiated);
    this.rings.set(vring.index, ring);
    try {
      ring.setUp();
    } catch (error) {
      this.rings.delete(vring.index);
      ring.finish();
      throw error;
    }
    return ring;
  }

  /** Resets one queue, whose doorbell is cut. */
  resetQueue(index: number): void {
    this.transport.resetQueue(index);
    this.interrupts.disconnect(index);
  }

  /** Resets the device and ends all rings, which are returned; what fails is thrown once that is done. */
  stop(): Ring[] {
    const rings = [...this.rings.values()];
    this.switches.clear();
    try {
      // A device that does not answer would only be waited for again.
      if (!this.#stuck) this.halt();
    } finally {
      this.rings.clear();
      for (const ring of rings) ring.finish();
    }
    return rings;
  }

  /** Resets the device. Rings that are not stopped one by one stay known, as interrupted. */
  halt(): void {
    this.#live = false;
    for (const ring of this.rings.values()) ring.cut();
    this.doorbells.disconnectAll();
    this.interrupts.disable();
    this.control.stop();
    this.#controlQueue = undefined;
    this.#reset();
    this.#counters.add("resets");
    // Only now, as the device has forgotten its control queue.
    if (this.#controlBuffer) {
      this.#controlBuffer.close();
      this.memory.release(this.#controlBuffer.iova);
      this.#controlBuffer = undefined;
    }
  }

  /** A device that no longer follows its registers is reset through its PCI function. */
  #reset(): void {
    try {
      this.transport.reset();
    } catch (error) {
      this.log.error(`${messageOf(error)}; the PCI function is reset instead`, {
        event: "function_reset",
        error: messageOf(error),
      });
      this.transport.fn.reset();
      this.#stuck = true;
    }
  }

  /** Stops the device and frees what this object holds; memory and registers are their owners'. */
  close(): void {
    this.stop();
    this.interrupts.close();
  }
}
