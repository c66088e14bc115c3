import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { MappablePage } from "../hw/pci-function.ts";
import * as F from "../hw/virtio/features.ts";
import { readNetConfig } from "../hw/virtio/net-config.ts";
import { VIRTIO_CONFIG_S_NEEDS_RESET } from "../hw/virtio/status.ts";
import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { announce } from "./announcement.ts";
import type { Counters } from "./counters.ts";
import { DeviceRun, type DeviceRunOptions } from "./device-run.ts";
import { offeredToFrontEnd } from "./feature-sets.ts";
import type { NetDeviceState, SuspendedGuest } from "./net-device-state.ts";
import { logQueue, type QueueState, type Ring } from "./ring.ts";
import { describeBase, isFreshBase } from "./ring-base.ts";
import { requireRelayable } from "./ring-factory.ts";
import { RingMoves } from "./ring-moves.ts";
import { RingStarts } from "./ring-starts.ts";
import { SingleRings } from "./single-rings.ts";
import type { DeviceLogging, VdpaDevice, VringConfig } from "./vdpa-device.ts";

const DEFAULT_MAX_MTU = 65535;

export interface NetDeviceOptions extends DeviceRunOptions {
  /** The most queue pairs to offer; all that the device has when undefined. */
  readonly queuePairs: number | undefined;
  /** Virtio feature bits that may be offered. */
  readonly featuresMask: bigint;
}

/** A virtio network device, whose rings are each the guest's own (direct) or relayed. */
export class VirtioNetDevice implements VdpaDevice {
  readonly type = "net";
  readonly maxQueues: number;
  readonly maxMtu: number;
  readonly memory: GuestMemory;
  readonly #log: Log;
  readonly #counters: Counters;
  readonly #offered: bigint;
  readonly #devicePairs: number;
  readonly #mac: Uint8Array | undefined;
  readonly #run: DeviceRun;
  readonly #single: SingleRings;
  readonly #moves: RingMoves;
  readonly #unwatchMemory: () => void;
  /** What each queue's ring has gone through. */
  readonly starts = new RingStarts();
  readonly #modeWatchers = new Set<() => void>();

  /** @param transport a device that nobody else drives; it is reset */
  constructor(
    readonly transport: VirtioTransport,
    options: NetDeviceOptions,
  ) {
    this.#log = options.log;
    this.#counters = options.counters;
    this.memory = options.memory;
    requireRelayable(transport, options.datapath);
    transport.reset();
    const features = transport.deviceFeatures();
    const config = readNetConfig(transport, features);
    this.#devicePairs = config.max_virtqueue_pairs;
    this.#mac = config.mac;
    this.maxMtu = config.mtu ?? DEFAULT_MAX_MTU;
    this.#offered = offeredToFrontEnd(features, options.featuresMask);
    this.maxQueues = 2 * this.#offeredPairs(options.queuePairs);
    const traits = { features, pairs: this.#devicePairs, maxQueues: this.maxQueues };
    this.#run = new DeviceRun(transport, traits, options, (ring) => this.#takeBack(ring));
    this.#single = new SingleRings(this.#run);
    this.#moves = new RingMoves(this.#run);
    this.#unwatchMemory = this.memory.watch(() => {
      for (const ring of this.#run.rings.values()) ring.rebind();
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

  prepare(): void {
    try {
      if (this.#run.factory.canRelay) this.#run.factory.warmUp();
    } catch (error) {
      this.#log.warn(`the relay's code was not compiled ahead: ${messageOf(error)}`, {
        event: "relay_cold",
        error: messageOf(error),
      });
    }
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
    return this.#run.live || this.#run.rings.size > 0;
  }

  get needsReset(): boolean {
    return this.#run.live && (this.transport.status() & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0;
  }

  baseProblem(features: bigint, base: number): string | undefined {
    const packed = F.hasFeature(features, F.VIRTIO_F_RING_PACKED);
    if (this.#run.factory.canRelay || isFreshBase(packed, base)) return undefined;
    return `the ring would have to start at ${describeBase(packed, base)}, but a virtio device can only start a ring from its beginning, and ${this.#moves.whyNoRelay()}`;
  }

  configure(features: bigint, vrings: readonly VringConfig[]): void {
    this.stop();
    this.starts.begin(vrings);
    try {
      this.#run.start(features, vrings);
      this.#counters.add("configures");
    } catch (error) {
      this.#log.error(`${this.transport.fn.name} was not started: ${messageOf(error)}`, {
        event: "device_start_failed",
        device: this.transport.fn.name,
        error: messageOf(error),
      });
      this.stop();
      throw error;
    }
  }

  startVring(vring: VringConfig): void {
    this.starts.begin([vring]);
    this.#single.start(vring);
  }

  stopVring(index: number): number {
    return this.#single.stop(index);
  }

  setVringState(index: number, enabled: boolean): void {
    this.#single.setEnabled(index, enabled);
  }

  setVringKick(index: number, fd: number): void {
    this.#run.rings.get(index)?.setKick(fd, this.#run.live);
  }

  setVringCall(index: number, fd: number): void {
    this.#run.rings.get(index)?.setCall(fd, this.#run.live);
  }

  get canLog(): boolean {
    return this.#run.factory.canRelay;
  }

  setLogging(logging: DeviceLogging | undefined): void {
    this.#moves.setLogging(logging);
  }

  holdInRelay(on: boolean): void {
    this.#moves.holdInRelay(on);
  }

  /** The device can go on with a relayed ring by itself. */
  #takeBack(ring: Ring): void {
    if (this.#moves.takeBack(ring)) for (const changed of this.#modeWatchers) changed();
  }

  /** Stops the device, whose rings are all relayed, so that they can go on elsewhere, or here with `configure`. */
  suspend(): SuspendedGuest {
    if (!this.#run.live) {
      throw new OperatorError(`${this.transport.fn.name} does not run`, {
        why: "its rings were stopped by a reset of the whole device",
        remedy: "let the guest's driver reset the device",
      });
    }
    const { chosen } = this.#run;
    return { features: chosen, vrings: this.#run.stop().map((r) => ({ ...r.config, base: r.position() })) };
  }

  /** What `setLogging` and `holdInRelay` have set. */
  get logging(): DeviceLogging | undefined {
    return this.#run.factory.logging;
  }

  get held(): boolean {
    return this.#run.factory.held;
  }

  get canAnnounce(): boolean {
    return this.#run.factory.canRelay && F.hasFeature(this.#run.traits.features, F.VIRTIO_F_RING_RESET);
  }

  announce(mac: Uint8Array): void {
    announce(this.#run, this.#moves, mac);
  }

  stop(): void {
    this.#run.stop();
  }

  getVfioGroupFd(): number | undefined {
    return this.transport.fn.vfioFds?.group;
  }

  getVfioDeviceFd(): number | undefined {
    return this.transport.fn.vfioFds?.device;
  }

  /** The doorbell of a relayed ring is ours: the device does not know the guest's entries. */
  getNotifyArea(index: number): MappablePage | undefined {
    if (this.#run.doorbells.policy === "relay" || this.#run.rings.get(index)?.mode === "relay")
      return undefined;
    return this.transport.doorbellPage(index);
  }

  setHostNotifier(index: number, active: boolean): void {
    this.#run.doorbells.setHostNotifier(index, active);
    const ring = this.#run.rings.get(index);
    if (ring) logQueue(this.#log, ring.state());
  }

  watchModes(changed: () => void): () => void {
    this.#modeWatchers.add(changed);
    return () => this.#modeWatchers.delete(changed);
  }

  /** State of every ring the device has, ascending. */
  queues(): QueueState[] {
    return [...this.#run.rings.values()].map((ring) => ring.state()).sort((a, b) => a.index - b.index);
  }

  /** What a queue's last change of mode took, in µs; undefined when it has not changed since the device started. */
  switchGapUs(index: number): number | undefined {
    return this.#run.switches.gapUs(index);
  }

  /** The rings as they were given, ascending. */
  ringConfigs(): VringConfig[] {
    return [...this.#run.rings.values()].map((ring) => ring.config).sort((a, b) => a.index - b.index);
  }

  describe(): NetDeviceState {
    const run = this.#run;
    return {
      deviceFeatures: run.traits.features,
      offered: this.#offered,
      negotiated: run.negotiated,
      running: run.live,
      held: run.factory.held,
      logging: run.factory.logging !== undefined,
      datapath: run.factory.policy,
      devicePairs: this.#devicePairs,
      activePairs: run.live ? run.control.pairs : 0,
      mac: this.#mac,
      linkUp: run.linkUp,
      startMs: run.startMs,
      lastSwitch: run.switches.last,
      controlQueue: run.controlQueue,
    };
  }

  /** Stops the device and frees what this object holds; memory and registers are their owners'. */
  close(): void {
    this.#unwatchMemory();
    this.#run.close();
  }
}
