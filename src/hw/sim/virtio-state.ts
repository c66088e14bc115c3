import type { Log } from "../log.ts";
import type { CommonTarget } from "./common-config.ts";
import type { SimCounters } from "./counters.ts";
import type { DmaPort } from "./dma-port.ts";
import type { Interrupts } from "./interrupts.ts";
import { featureProblem, offeredFeatures } from "./net-config.ts";
import type { NetFunction } from "./net-function.ts";
import { Random } from "./random.ts";
import type { SimConfig } from "./sim-options.ts";
import {
  F,
  NO_VECTOR,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
} from "./virtio.ts";
import { Virtqueue } from "./virtqueue.ts";

const KNOWN_STATUS = 1 | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_NEEDS_RESET | 128;
/** Most entries of the control queue: fewer than the others have, as with QEMU's device. */
const CONTROL_ENTRIES = 64;
/** Violations that are logged between two resets; a guest may cause them without end. */
const LOGGED = 8;

/** Status machine, feature negotiation and queue set-up (virtio 1.3 §2.1, §2.2, §3.1.1). */
export class VirtioState implements CommonTarget {
  readonly offered: bigint;
  readonly vectors: number;
  readonly driverFeatures = new Uint32Array(2);
  configVector = NO_VECTOR;
  readonly queues: Virtqueue[];
  readonly #config: SimConfig;
  readonly #dma: DmaPort;
  readonly #interrupts: Interrupts;
  readonly #net: NetFunction;
  readonly #counters: SimCounters;
  readonly #log: Log;
  #status = 0;
  #stuckStatus = 0;
  #generation = 0;
  #violations = 0;

  constructor(
    config: SimConfig,
    parts: { dma: DmaPort; interrupts: Interrupts; net: NetFunction; counters: SimCounters; log: Log },
  ) {
    this.#config = config;
    this.#dma = parts.dma;
    this.#interrupts = parts.interrupts;
    this.#net = parts.net;
    this.#counters = parts.counters;
    this.#log = parts.log;
    this.offered = offeredFeatures(config);
    this.vectors = config.msixVectors;
    this.queues = Array.from(
      { length: parts.net.queueCount(undefined) },
      (_, i) => new Virtqueue(i, config.queueSize),
    );
  }

  get features(): bigint {
    return (BigInt(this.driverFeatures[1]!) << 32n) | BigInt(this.driverFeatures[0]!);
  }

  /** Whether the device may touch rings: DRIVER_OK and not in need of a reset. */
  get live(): boolean {
    return (this.#status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) === STATUS_DRIVER_OK;
  }

  /** Features that shape the queues: until the driver's are accepted there is one pair, as with QEMU's device. */
  get #shape(): bigint {
    return this.#status & STATUS_FEATURES_OK ? this.features : F.NET_CTRL_VQ;
  }

  get numQueues(): number {
    return this.#net.queueCount(this.#shape);
  }

  get status(): number {
    return this.#status | this.#stuckStatus;
  }

  set status(value: number) {
    if (value === 0) {
      const before = this.status;
      this.reset();
      this.#stuckStatus = this.#config.faults.resetNeverCompletes ? before : 0;
      return;
    }
    const lost = this.#status & ~value & ~STATUS_NEEDS_RESET;
    if (lost) this.violation(`status bits 0x${lost.toString(16)} cleared without a reset`);
    if (value & ~KNOWN_STATUS) this.violation(`unknown status bits in 0x${value.toString(16)}`);
    let added = value & ~this.#status & KNOWN_STATUS & ~STATUS_NEEDS_RESET;
    if (added & STATUS_FEATURES_OK && !this.#acceptFeatures(value)) added &= ~STATUS_FEATURES_OK;
    if (added & STATUS_DRIVER_OK && !((this.#status | added) & STATUS_FEATURES_OK)) {
      this.violation("DRIVER_OK before FEATURES_OK");
      added &= ~STATUS_DRIVER_OK;
    }
    this.#status |= added;
  }

  reset(): void {
    this.#status = 0;
    this.#stuckStatus = 0;
    this.#violations = 0;
    this.driverFeatures.fill(0);
    this.configVector = NO_VECTOR;
    for (const queue of this.queues) queue.reset();
    this.#net.reset();
    this.#counters.add("resets");
  }

  /** Stops the device and tells the driver, §2.1.2. */
  needsReset(why: string): void {
    if (this.#status & STATUS_NEEDS_RESET) return;
    this.#status |= STATUS_NEEDS_RESET;
    this.#counters.add("device_faults");
    this.#log.warn(`simulated device needs a reset: ${why}`, { event: "sim_needs_reset", reason: why });
    if (this.#status & STATUS_DRIVER_OK) this.#interrupts.signal(this.configVector);
  }

  /** Tells the driver that the configuration has changed, §2.5. */
  configChanged(): void {
    if (this.live) this.#interrupts.signal(this.configVector);
  }

  generation(): number {
    if (this.#config.faults.generationNeverSettles) this.#generation = (this.#generation + 1) & 0xff;
    return this.#generation;
  }

  queue(index: number): Virtqueue | undefined {
    return index < this.numQueues ? this.queues[index] : undefined;
  }

  queueSize(queue: Virtqueue): number {
    if (this.#config.faults.missingQueue === queue.index) return 0;
    return Math.min(queue.size, this.#mostEntries(queue));
  }

  #mostEntries(queue: Virtqueue): number {
    return this.#net.isControl(queue.index, this.#shape)
      ? Math.min(CONTROL_ENTRIES, queue.maxSize)
      : queue.maxSize;
  }

  setQueueSize(queue: Virtqueue, size: number): void {
    if (size < 1 || size > this.#mostEntries(queue) || this.queueSize(queue) === 0) {
      this.violation(`size ${size} for queue ${queue.index}`);
    } else if (this.#config.sharedQueueSize) {
      for (const other of this.queues) if (!other.enabled) other.size = size;
    } else {
      queue.size = size;
    }
  }

  setDriverFeatures(word: number, value: number): void {
    if (this.#status & STATUS_FEATURES_OK) this.violation("features changed after FEATURES_OK");
    else if (word < 2) this.driverFeatures[word] = value;
    else if (value !== 0) this.violation(`feature bits from ${32 * word} on were not offered`);
  }

  enable(queue: Virtqueue): void {
    if (!(this.#status & STATUS_FEATURES_OK)) {
      this.violation(`queue ${queue.index} enabled before FEATURES_OK`);
      return;
    }
    const { shuffleSeed } = this.#config;
    // Misbehaviour in rings is the data queues' own: the control queue has a fault for itself.
    const faults = this.#net.isControl(queue.index, this.#shape) ? {} : this.#config.faults;
    const random = shuffleSeed === undefined ? undefined : new Random(shuffleSeed + queue.index);
    const problem = this.queueSize(queue)
      ? queue.enable(this.features, this.#dma, random, faults)
      : "the queue does not exist";
    if (problem) this.violation(`queue ${queue.index} can not be enabled: ${problem}`);
  }

  resetQueue(queue: Virtqueue): void {
    if (!(this.features & F.RING_RESET && this.#status & STATUS_FEATURES_OK)) {
      this.violation(`reset of queue ${queue.index} without RING_RESET`);
    } else if (this.#config.faults.queueResetNeverCompletes) {
      queue.resetting = true;
    } else {
      queue.reset();
    }
  }

  violation(text: string): void {
    this.#counters.add("driver_faults");
    if (++this.#violations <= LOGGED)
      this.#log.warn(`simulated device ignores its driver: ${text}`, {
        event: "sim_driver_fault",
        reason: text,
      });
  }

  #acceptFeatures(status: number): boolean {
    if (!(status & STATUS_DRIVER)) {
      this.violation("FEATURES_OK before DRIVER");
      return false;
    }
    const refused = this.#config.faults.refuseFeatures
      ? "as ordered"
      : featureProblem(this.offered, this.features);
    if (refused)
      this.#log.info(`simulated device refuses the features: ${refused}`, {
        event: "sim_features_refused",
        reason: refused,
      });
    return refused === undefined;
  }
}
