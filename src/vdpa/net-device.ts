import { DmaBuffer } from "../hw/dma-buffer.ts";
import type { EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { MappablePage } from "../hw/pci-function.ts";
import { ControlQueue } from "../hw/virtio/control-queue.ts";
import * as F from "../hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../hw/virtio/negotiate.ts";
import { readNetConfig } from "../hw/virtio/net-config.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import { awaitPosition } from "./await-position.ts";
import type { Counters } from "./counters.ts";
import { DeviceHealth } from "./device-health.ts";
import { ringTraits } from "./direct-position.ts";
import { type DoorbellPolicy, Doorbells } from "./doorbells.ts";
import { offeredToFrontEnd, wantedFromDevice } from "./feature-sets.ts";
import { Interrupts } from "./interrupts.ts";
import { NetControl } from "./net-control.ts";
import { type DatapathPolicy, describeQueue, type QueueState, type Ring } from "./ring.ts";
import { describeBase, isFreshBase } from "./ring-base.ts";
import { RingFactory } from "./ring-factory.ts";
import type { DeviceLogging, VdpaDevice, VringConfig } from "./vdpa-device.ts";

const DEFAULT_MAX_MTU = 65535;

export interface NetDeviceOptions {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
  readonly memory: GuestMemory;
  /** The most queue pairs to offer; all that the device has when undefined. */
  readonly queuePairs: number | undefined;
  /** Virtio feature bits that may be offered. */
  readonly featuresMask: bigint;
  readonly doorbells: DoorbellPolicy;
  readonly datapath: DatapathPolicy;
}

/** A virtio network device, whose rings are each the guest's own (direct) or relayed. */
export class VirtioNetDevice implements VdpaDevice {
  readonly type = "net";
  readonly maxQueues: number;
  readonly maxMtu: number;
  readonly memory: GuestMemory;
  readonly #log: Log;
  readonly #counters: Counters;
  readonly #deviceFeatures: bigint;
  readonly #offered: bigint;
  readonly #devicePairs: number;
  readonly #doorbells: Doorbells;
  readonly #interrupts: Interrupts;
  readonly #control: NetControl;
  readonly #health: DeviceHealth;
  readonly #rings = new Map<number, Ring>();
  readonly #factory: RingFactory;
  readonly #unwatchMemory: () => void;
  #controlBuffer: DmaBuffer | undefined;
  /** What the front-end chose at the last start, and what was negotiated with the device. */
  #chosen = 0n;
  #negotiated = 0n;
  /** Started and not reset since. */
  #live = false;

  /** @param transport a device that nobody else drives; it is reset */
  constructor(
    readonly transport: VirtioTransport,
    options: NetDeviceOptions,
  ) {
    this.#log = options.log;
    this.#counters = options.counters;
    this.memory = options.memory;
    transport.reset();
    this.#deviceFeatures = transport.deviceFeatures();
    const config = readNetConfig(transport, this.#deviceFeatures);
    this.#devicePairs = config.max_virtqueue_pairs;
    this.maxMtu = config.mtu ?? DEFAULT_MAX_MTU;
    this.#offered = offeredToFrontEnd(this.#deviceFeatures, options.featuresMask);
    this.maxQueues = 2 * this.#offeredPairs(options.queuePairs);
    this.#doorbells = new Doorbells(transport.fn, options.loop, options.log, options.doorbells, (queue) =>
      options.counters.queue(queue).add("kicks_relayed"),
    );
    this.#interrupts = new Interrupts(
      transport.fn,
      options.loop,
      options.log,
      () => this.#health.onConfigInterrupt(this.#negotiated),
      (queue) => options.counters.queue(queue).add("calls_relayed"),
    );
    this.#control = new NetControl(options.log);
    this.#health = new DeviceHealth(transport, options.log, options.counters);
    this.#factory = new RingFactory(
      { ...options, transport, doorbells: this.#doorbells, interrupts: this.#interrupts },
      options.datapath,
      (ring) => this.#takeBack(ring),
    );
    this.#unwatchMemory = this.memory.watch(() => {
      for (const ring of this.#rings.values()) ring.rebind();
    });
  }

  #offeredPairs(wanted: number | undefined): number {
    const available = F.hasFeature(this.#offered, F.VIRTIO_NET_F_MQ) ? this.#devicePairs : 1;
    if (wanted === undefined) return available;
    if (wanted > available) {
      throw new OperatorError(`${this.transport.fn.name} can not serve ${wanted} queue pairs`, {
        why: `it offers ${available}`,
        remedy: `leave --queues out or give at most ${available}`,
        kind: "not-ready",
      });
    }
    return wanted;
  }

  getQueueNum(): number {
    return this.maxQueues / 2;
  }

  getFeatures(): bigint {
    return this.#offered;
  }

  getProtocolFeatures(): bigint {
    return ~0n;
  }

  /**
   * The first pair's sizes stand for all: until MQ is accepted a device may have one pair only, with its control
   * queue where a data queue will be.
   */
  maxQueueSize(index: number): number {
    return index < this.maxQueues ? this.transport.maxQueueSize(index % 2) : 0;
  }

  get running(): boolean {
    return this.#live || this.#rings.size > 0;
  }

  baseProblem(features: bigint, base: number): string | undefined {
    const packed = F.hasFeature(features, F.VIRTIO_F_RING_PACKED);
    if (this.#factory.canRelay || isFreshBase(packed, base)) return undefined;
    return `the ring would have to start at ${describeBase(packed, base)}, but a virtio device can only start a ring from its beginning, and ${this.#noRelay()}`;
  }

  configure(features: bigint, vrings: readonly VringConfig[]): void {
    this.stop();
    try {
      this.#start(features, vrings);
      this.#counters.add("configures");
    } catch (error) {
      this.#log.error(`${this.transport.fn.name} was not started: ${messageOf(error)}`);
      this.stop();
      throw error;
    }
  }

  #start(features: bigint, vrings: readonly VringConfig[]): void {
    const started = performance.now();
    const wanted = wantedFromDevice(features, this.#deviceFeatures);
    if (this.transport.layout === "modern" && !F.hasFeature(features, F.VIRTIO_F_VERSION_1)) {
      throw new OperatorError("the guest's driver did not accept VIRTIO_F_VERSION_1", {
        why: "its packet headers would have another length than the device's",
        remedy: "use a modern virtio driver in the guest (in QEMU: disable-legacy=on)",
        kind: "protocol",
      });
    }
    const accepted = negotiate(this.transport, wanted);
    this.#chosen = features;
    this.#negotiated = accepted;
    this.#live = true;
    const multiqueue = F.hasFeature(accepted, F.VIRTIO_NET_F_MQ);
    const control = this.#setUpControlQueue(accepted, multiqueue ? 2 * this.#devicePairs : 2);
    this.#interrupts.enable(this.maxQueues);
    this.transport.setConfigVector(this.#interrupts.configVector);
    for (const vring of vrings) this.#setUpRing(vring);
    setDriverOk(this.transport);
    this.#control.start(control, { multiqueue, rxMode: F.hasFeature(accepted, F.VIRTIO_NET_F_CTRL_RX) });
    this.#control.setEnabled(vrings.map((vring) => [vring.index, vring.enabled]));
    for (const ring of this.#rings.values()) ring.connect();
    this.#health.readLink(accepted);
    const ms = (performance.now() - started).toFixed(1);
    this.#log.info(`${this.transport.fn.name} runs with ${vrings.length} rings after ${ms} ms`);
    for (const ring of this.#rings.values()) this.#log.info(describeQueue(ring.state()));
  }

  #setUpControlQueue(accepted: bigint, index: number): ControlQueue | undefined {
    if (!F.hasFeature(accepted, F.VIRTIO_NET_F_CTRL_VQ)) return undefined;
    const { dma } = this.transport.fn;
    const size = ControlQueue.memorySize(this.transport, index, accepted);
    const iova = allocateIova(dma, this.memory, size);
    this.#controlBuffer = DmaBuffer.create(dma, iova, size, "vdpactl-control-queue");
    this.memory.reserve(iova, iova + BigInt(size) - 1n);
    return ControlQueue.create(this.transport, { index, features: accepted, memory: this.#controlBuffer });
  }

  startVring(vring: VringConfig): void {
    if (!this.#live) {
      throw new OperatorError(`queue ${vring.index} can not be started alone`, {
        why: "the device was reset to stop one of its queues, as it can not reset single ones",
        remedy: "let the guest's driver reset the device",
      });
    }
    this.#setUpRing(vring);
    this.#control.setEnabled([[vring.index, vring.enabled]]);
    const ring = this.#rings.get(vring.index)!;
    ring.connect();
    this.#log.info(describeQueue(ring.state()));
  }

  #setUpRing(vring: VringConfig): void {
    const ring = this.#factory.create(vring, this.#negotiated);
    this.#rings.set(vring.index, ring);
    try {
      ring.setUp();
    } catch (error) {
      this.#rings.delete(vring.index);
      ring.finish();
      throw error;
    }
  }

  stopVring(index: number): number {
    const ring = this.#rings.get(index);
    if (!ring) return 0;
    this.#rings.delete(index);
    try {
      ring.cut();
      if (this.#live) this.#stopOnDevice(index);
    } finally {
      ring.finish();
    }
    return ring.position();
  }

  #stopOnDevice(index: number): void {
    if (this.#rings.size > 0 && F.hasFeature(this.#negotiated, F.VIRTIO_F_RING_RESET)) {
      this.#control.setEnabled([[index, false]]);
      this.transport.resetQueue(index);
      this.#interrupts.disconnect(index);
      return;
    }
    // Without RING_RESET one ring can only be stopped together with all others, which stay interrupted.
    if (this.#rings.size > 0) this.#log.info(`queue ${index} was stopped by a reset of the whole device`);
    this.#halt();
  }

  setVringState(index: number, enabled: boolean): void {
    const ring = this.#rings.get(index);
    if (!ring || ring.enabled === enabled) return;
    // Steering changes before a ring's doorbell opens and after it closed.
    if (!enabled) ring.setEnabled(false, this.#live);
    if (this.#live) this.#control.setEnabled([[index, enabled]]);
    if (enabled) ring.setEnabled(true, this.#live);
    this.#log.info(describeQueue(ring.state()));
  }

  setVringKick(index: number, fd: number): void {
    this.#rings.get(index)?.setKick(fd, this.#live);
  }

  setVringCall(index: number, fd: number): void {
    this.#rings.get(index)?.setCall(fd, this.#live);
  }

  get canLog(): boolean {
    return this.#factory.canRelay;
  }

  setLogging(logging: DeviceLogging | undefined): void {
    const before = this.#factory.logging;
    this.#logRings(logging);
    if (!this.#live) return;
    try {
      this.#relayWhatMust();
    } catch (error) {
      this.#logRings(before);
      throw error;
    }
  }

  holdInRelay(on: boolean): void {
    if (on && !this.#factory.canRelay) {
      throw new OperatorError(`the rings of ${this.transport.fn.name} can not be relayed`, {
        why: this.#noRelay(),
        kind: "not-ready",
      });
    }
    const before = this.#factory.held;
    this.#hold(on);
    if (!this.#live) return;
    try {
      this.#relayWhatMust();
    } catch (error) {
      this.#hold(before);
      throw error;
    }
  }

  #hold(on: boolean): void {
    this.#factory.held = on;
    for (const ring of this.#rings.values()) ring.hold(on);
  }

  #noRelay(): string {
    return this.#factory.policy === "direct"
      ? "relaying rings, which this would take, is switched off (--datapath direct)"
      : "rings of the legacy register layout can not be relayed";
  }

  #logRings(logging: DeviceLogging | undefined): void {
    this.#factory.logging = logging;
    for (const ring of this.#rings.values()) ring.setLogging(this.#factory.loggingOf(ring.index));
  }

  /** What the device writes itself can not be logged: the rings that are to be go on relayed. */
  #relayWhatMust(): void {
    const direct = [...this.#rings.values()].filter(
      (ring) => ring.mode === "direct" && this.#factory.mustRelay(ring.index),
    );
    if (direct.length === 0) return;
    const traits = ringTraits(this.#negotiated);
    if (F.hasFeature(this.#negotiated, F.VIRTIO_F_RING_RESET)) {
      for (const ring of direct) {
        awaitPosition([ring], this.memory, traits);
        this.#orStop(() => this.#moveRing(ring, () => ring.position()));
      }
    } else {
      awaitPosition(direct, this.memory, traits);
      this.#orStop(() => this.#replay());
    }
  }

  /** Takes a ring from the device and gives it back as the factory makes it now. */
  #moveRing(ring: Ring, base: () => number): void {
    const { index } = ring;
    ring.cut();
    this.transport.resetQueue(index);
    this.#interrupts.disconnect(index);
    ring.finish();
    this.#setUpRing({ ...ring.config, base: base() });
    const moved = this.#rings.get(index)!;
    moved.connect();
    this.#log.info(describeQueue(moved.state()));
  }

  /** The device can go on with a relayed ring by itself. */
  #takeBack(ring: Ring): void {
    try {
      this.#orStop(() => this.#moveRing(ring, () => ring.position()));
    } catch (error) {
      this.#log.error(`queue ${ring.index} was not given back to the device: ${messageOf(error)}`);
    }
  }

  /** Where single queues can not be reset: the whole device is, and told everything anew. */
  #replay(): void {
    const rings = [...this.#rings.values()];
    this.#halt();
    for (const ring of rings) ring.finish();
    this.#rings.clear();
    this.#start(
      this.#chosen,
      rings.map((ring) => ({ ...ring.config, base: ring.position() })),
    );
  }

  /** A device that was changed only in part can not go on. */
  #orStop(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    const rings = [...this.#rings.values()];
    try {
      this.#halt();
    } finally {
      this.#rings.clear();
      for (const ring of rings) ring.finish();
    }
  }

  /** Resets the device. Rings that are not stopped one by one stay known, as interrupted. */
  #halt(): void {
    this.#live = false;
    for (const ring of this.#rings.values()) ring.cut();
    this.#doorbells.disconnectAll();
    this.#interrupts.disable();
    this.#control.stop();
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
      this.#log.error(`${messageOf(error)}; the PCI function is reset instead`);
      this.transport.fn.reset();
    }
  }

  getVfioGroupFd(): number | undefined {
    return this.transport.fn.vfioFds?.group;
  }

  getVfioDeviceFd(): number | undefined {
    return this.transport.fn.vfioFds?.device;
  }

  /** The doorbell of a relayed ring is ours: the device does not know the guest's entries. */
  getNotifyArea(index: number): MappablePage | undefined {
    if (this.#rings.get(index)?.mode === "relay") return undefined;
    return this.transport.doorbellPage(index);
  }

  setHostNotifier(index: number, active: boolean): void {
    this.#doorbells.setHostNotifier(index, active);
  }

  /** State of every ring the device has, ascending. */
  queues(): QueueState[] {
    return [...this.#rings.values()].map((ring) => ring.state()).sort((a, b) => a.index - b.index);
  }

  /** Stops the device and frees what this object holds; memory and registers are their owners'. */
  close(): void {
    this.stop();
    this.#unwatchMemory();
    this.#interrupts.close();
  }
}
