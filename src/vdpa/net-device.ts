import { DmaBuffer } from "../hw/dma-buffer.ts";
import type { EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { MappablePage } from "../hw/pci-function.ts";
import { ControlQueue } from "../hw/virtio/control-queue.ts";
import * as F from "../hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../hw/virtio/negotiate.ts";
import { readNetConfig, VIRTIO_NET_S_LINK_UP } from "../hw/virtio/net-config.ts";
import { VIRTIO_CONFIG_S_NEEDS_RESET } from "../hw/virtio/status.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import type { Counters } from "./counters.ts";
import { type DoorbellPolicy, Doorbells } from "./doorbells.ts";
import { offeredToFrontEnd, wantedFromDevice } from "./feature-sets.ts";
import { Interrupts } from "./interrupts.ts";
import { NetControl } from "./net-control.ts";
import { describeBase, isFreshBase, ringPosition } from "./ring-base.ts";
import type { DoorbellKind, VdpaDevice, VringConfig } from "./vdpa-device.ts";

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
}

interface RunningRing {
  config: VringConfig;
  enabled: boolean;
}

/** What one queue is doing, for those who look on. */
export interface QueueState {
  readonly index: number;
  readonly type: "rx" | "tx";
  readonly size: number;
  readonly enabled: boolean;
  readonly mode: "direct";
  readonly doorbell: DoorbellKind;
  readonly vector: number;
  /** Whether interrupts reach the guest without this process. */
  readonly call: "direct" | "relay" | "none";
}

/** A virtio network device in direct mode: the device works on the guest's own rings. */
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
  readonly #rings = new Map<number, RunningRing>();
  #controlBuffer: DmaBuffer | undefined;
  /** Negotiated with the device at its last start. */
  #negotiated = 0n;
  /** Started and not reset since. */
  #live = false;
  #linkUp: boolean | undefined;

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
    this.#doorbells = new Doorbells(transport.fn, options.loop, options.log, options.doorbells, () =>
      options.counters.add("kicks_relayed"),
    );
    this.#interrupts = new Interrupts(
      transport.fn,
      options.loop,
      options.log,
      () => this.#onConfigInterrupt(),
      () => options.counters.add("calls_relayed"),
    );
    this.#control = new NetControl(options.log);
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

  maxQueueSize(index: number): number {
    return this.transport.maxQueueSize(index);
  }

  get running(): boolean {
    return this.#live || this.#rings.size > 0;
  }

  baseProblem(features: bigint, base: number): string | undefined {
    const packed = F.hasFeature(features, F.VIRTIO_F_RING_PACKED);
    if (isFreshBase(packed, base)) return undefined;
    return (
      `the ring would have to start at ${describeBase(packed, base)}, but a virtio device can only start a ring ` +
      "from its beginning and this version does not relay rings yet"
    );
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
    for (const vring of vrings) this.#connect(vring.index);
    this.#readLink();
    const ms = (performance.now() - started).toFixed(1);
    this.#log.info(`${this.transport.fn.name} runs with ${vrings.length} rings after ${ms} ms`);
    for (const { index } of vrings) this.#report(index);
  }

  /** One line on how a queue's packets, kicks and interrupts travel. */
  #report(index: number): void {
    const q = this.queues().find((queue) => queue.index === index)!;
    const state = q.enabled ? "" : " disabled";
    this.#log.info(
      `queue ${q.index} ${q.type} size ${q.size} ${q.mode} doorbell ${q.doorbell} vector ${q.vector} call ${q.call}${state}`,
    );
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
    this.#connect(vring.index);
    this.#report(vring.index);
  }

  #setUpRing(vring: VringConfig): void {
    this.transport.setupQueue(vring.index, {
      size: vring.size,
      desc: vring.descGpa,
      driver: vring.driverGpa,
      device: vring.deviceGpa,
      vector: this.#interrupts.vectorOf(vring.index),
    });
    this.transport.enableQueue(vring.index);
    this.#rings.set(vring.index, { config: vring, enabled: vring.enabled });
  }

  /** Connects a ring's eventfds as its state wants it. */
  #connect(index: number): void {
    const ring = this.#rings.get(index)!;
    this.#interrupts.connect(index, ring.config.callFd);
    if (ring.enabled) this.#doorbells.connect(index, this.transport.doorbell(index), ring.config.kickFd);
    else this.#doorbells.disconnect(index);
  }

  stopVring(index: number): number {
    const ring = this.#rings.get(index);
    if (!ring) return 0;
    this.#rings.delete(index);
    if (this.#live) this.#stopOnDevice(index);
    return ringPosition(this.memory, ring.config, F.hasFeature(this.#negotiated, F.VIRTIO_F_RING_PACKED));
  }

  #stopOnDevice(index: number): void {
    this.#doorbells.disconnect(index);
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
    ring.enabled = enabled;
    if (!this.#live) return;
    this.#control.setEnabled([[index, enabled]]);
    this.#connect(index);
    this.#report(index);
  }

  setVringKick(index: number, fd: number): void {
    this.#replace(index, { kickFd: fd });
  }

  setVringCall(index: number, fd: number): void {
    const ring = this.#replace(index, { callFd: fd }, false);
    if (ring && this.#live) this.#interrupts.connect(index, fd);
  }

  #replace(
    index: number,
    fds: { kickFd?: number; callFd?: number },
    reconnect = true,
  ): RunningRing | undefined {
    const ring = this.#rings.get(index);
    if (!ring) return undefined;
    if (reconnect) this.#doorbells.disconnect(index);
    ring.config = { ...ring.config, ...fds };
    if (reconnect && this.#live && ring.enabled) {
      this.#doorbells.connect(index, this.transport.doorbell(index), ring.config.kickFd);
    }
    return ring;
  }

  stop(): void {
    this.#rings.clear();
    this.#halt();
  }

  /** Resets the device. Rings that are not stopped one by one stay known, as interrupted. */
  #halt(): void {
    this.#live = false;
    this.#doorbells.disconnectAll();
    this.#interrupts.disable();
    this.#control.stop();
    this.transport.reset();
    this.#counters.add("resets");
    // Only now, as the device has forgotten its control queue.
    if (this.#controlBuffer) {
      this.#controlBuffer.close();
      this.memory.release(this.#controlBuffer.iova);
      this.#controlBuffer = undefined;
    }
  }

  getVfioGroupFd(): number | undefined {
    return this.transport.fn.vfioFds?.group;
  }

  getVfioDeviceFd(): number | undefined {
    return this.transport.fn.vfioFds?.device;
  }

  getNotifyArea(index: number): MappablePage | undefined {
    return this.transport.doorbellPage(index);
  }

  setHostNotifier(index: number, active: boolean): void {
    this.#doorbells.setHostNotifier(index, active);
  }

  /** State of every ring the device has, ascending. */
  queues(): QueueState[] {
    return [...this.#rings.entries()]
      .sort(([a], [b]) => a - b)
      .map(([index, { config, enabled }]) => ({
        index,
        type: index % 2 === 0 ? "rx" : "tx",
        size: config.size,
        enabled,
        mode: "direct",
        doorbell: this.#doorbells.kind(index),
        vector: this.#interrupts.vectorOf(index),
        call: config.callFd < 0 ? "none" : this.#interrupts.isShared(index) ? "relay" : "direct",
      }));
  }

  /** Stops the device and frees what this object holds; memory and registers are their owners'. */
  close(): void {
    this.stop();
    this.#interrupts.close();
  }

  #onConfigInterrupt(): void {
    this.#counters.add("config_interrupts");
    const status = this.transport.status();
    if (status & VIRTIO_CONFIG_S_NEEDS_RESET) {
      this.#counters.add("device_faults");
      this.#log.error(`${this.transport.fn.name} needs a reset: it met an error it can not recover from`);
      return;
    }
    this.#readLink();
  }

  #readLink(): void {
    if (!F.hasFeature(this.#negotiated, F.VIRTIO_NET_F_STATUS)) return;
    const { status } = readNetConfig(this.transport, this.#negotiated);
    const up = status === undefined || (status & VIRTIO_NET_S_LINK_UP) !== 0;
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    this.#log.info(`${this.transport.fn.name} link ${up ? "up" : "down"}`);
  }
}
