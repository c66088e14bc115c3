import type { Doorbell, MappablePage, PciFunction, RegisterWidth } from "../pci-function.ts";
import { waitUntil } from "./bounded-wait.ts";
import { readConfigBytes } from "./config-reader.ts";
import { deviceError, deviceGone, deviceStuck } from "./device-error.ts";
import { hasFeature, VIRTIO_F_RING_PACKED, VIRTIO_F_RING_RESET } from "./features.ts";
import { checkQueueSetup } from "./queue-setup.ts";
import { VIRTIO_PCI_COMMON_Q_RESET, virtio_pci_common_cfg } from "./registers.ts";
import type { Structures } from "./structures.ts";
import type { QueueSetup, VirtioTransport } from "./transport.ts";

const AT = virtio_pci_common_cfg.offsets;
const ALL_ONES_32 = 0xffffffff;
/** A device with more queues than this is not slowed down by reading all their sizes. */
const MOST_PREFETCHED = 256;

/** The registers of virtio 1.0 and later (virtio 1.3 §4.1.4), each accessed at its own width (§4.1.3.1). */
export class ModernTransport implements VirtioTransport {
  readonly layout = "modern";
  readonly #maxSizes = new Map<number, number>();
  #driverFeatures = 0n;

  constructor(
    readonly fn: PciFunction,
    readonly deviceType: number,
    readonly structures: Structures,
    /** Longest time in milliseconds that any answer of the device may take. */
    readonly limitMs: number,
  ) {}

  get numQueues(): number {
    const count = this.#read(AT.num_queues, 2);
    if (count === 0xffff) throw deviceGone(this.fn);
    return count;
  }

  status(): number {
    return this.#read(AT.device_status, 1);
  }

  setStatus(status: number): void {
    this.#write(AT.device_status, 1, status);
  }

  reset(): void {
    this.setStatus(0);
    // The device is reset only when the register reads 0 (virtio 1.3 §4.1.4.3.2).
    if (!waitUntil(() => this.status() === 0, this.limitMs)) {
      if (this.#gone()) throw deviceGone(this.fn);
      throw deviceStuck(this.fn, "the reset (device_status)", this.limitMs);
    }
    this.#driverFeatures = 0n;
    this.#maxSizes.clear();
  }

  deviceFeatures(): bigint {
    const [low, high] = [0, 1].map((half) => {
      this.#write(AT.device_feature_select, 4, half);
      return this.#read(AT.device_feature, 4);
    }) as [number, number];
    if (low === ALL_ONES_32 && high === ALL_ONES_32) throw deviceGone(this.fn);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  setDriverFeatures(features: bigint): void {
    for (const half of [0, 1]) {
      this.#write(AT.guest_feature_select, 4, half);
      this.#write(AT.guest_feature, 4, Number((features >> BigInt(32 * half)) & 0xffffffffn));
    }
    this.#driverFeatures = features;
    // Which queues there are, and how large, depends on the features (MQ).
    this.#maxSizes.clear();
  }

  maxQueueSize(index: number): number {
    const count = this.numQueues;
    if (index < 0 || index >= count) return 0;
    // The register holds what a driver last wrote, on some devices to any queue: all are read before the first write.
    if (this.#maxSizes.size === 0) {
      for (let i = 0; i < Math.min(count, MOST_PREFETCHED); i++) this.#maxSizes.set(i, this.#queueSize(i));
    }
    return this.#maxSizes.get(index) ?? this.#queueSize(index);
  }

  setupQueue(index: number, setup: QueueSetup): void {
    const packed = hasFeature(this.#driverFeatures, VIRTIO_F_RING_PACKED);
    checkQueueSetup(this.fn, index, setup, { maxSize: this.maxQueueSize(index), packed });
    this.#select(index);
    // Nothing of an enabled queue may be changed (virtio 1.3 §4.1.4.3.2).
    if (this.#read(AT.queue_enable, 2) !== 0) {
      throw deviceError(this.fn, `queue ${index} can not be set up`, "it is enabled already");
    }
    this.#writeBack(AT.queue_size, setup.size, `size of queue ${index} (queue_size)`);
    this.#writeAddress(AT.queue_desc_lo, setup.desc);
    this.#writeAddress(AT.queue_avail_lo, setup.driver);
    this.#writeAddress(AT.queue_used_lo, setup.device);
    this.#writeBack(AT.queue_msix_vector, setup.vector, `MSI-X vector of queue ${index} (queue_msix_vector)`);
  }

  enableQueue(index: number): void {
    this.#select(index);
    this.#writeBack(AT.queue_enable, 1, `enabling of queue ${index} (queue_enable)`);
  }

  queueEnabled(index: number): boolean {
    this.#select(index);
    return this.#read(AT.queue_enable, 2) === 1;
  }

  resetQueue(index: number): void {
    if (!hasFeature(this.#driverFeatures, VIRTIO_F_RING_RESET)) {
      throw deviceError(this.fn, `queue ${index} can not be reset alone`, "RING_RESET was not negotiated");
    }
    if (this.structures.common.length < VIRTIO_PCI_COMMON_Q_RESET + 2) {
      throw deviceError(this.fn, `queue ${index} can not be reset alone`, "it has no queue_reset register");
    }
    this.#select(index);
    this.#write(VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
    // Virtio 1.3 §2.6.1: the queue is the driver's again when queue_reset reads 0 and the queue is disabled.
    const done = () => this.#read(VIRTIO_PCI_COMMON_Q_RESET, 2) === 0 && this.#read(AT.queue_enable, 2) === 0;
    if (waitUntil(done, this.limitMs)) return;
    if (this.#gone()) throw deviceGone(this.fn);
    throw deviceStuck(this.fn, `the reset of queue ${index} (queue_reset)`, this.limitMs);
  }

  doorbell(index: number): Doorbell {
    const { region, offset, length, notify_off_multiplier } = this.structures.notify;
    this.#select(index);
    const within = this.#read(AT.queue_notify_off, 2) * notify_off_multiplier;
    // Virtio 1.3 §4.1.4.4.1 promises this; a device that breaks it must not make us write elsewhere.
    if (within + 2 > length || (offset + within) % 2 !== 0) {
      throw deviceError(
        this.fn,
        `the doorbell of queue ${index} lies outside of the notification structure`,
        `queue_notify_off × notify_off_multiplier = ${within}, the structure has ${length} bytes`,
      );
    }
    return { region, offset: offset + within, width: 2, value: index };
  }

  doorbellPage(index: number): MappablePage | undefined {
    const doorbell = this.doorbell(index);
    const page = this.fn.doorbellPage(doorbell);
    if (!page) return undefined;
    const { notify, all } = this.structures;
    const start = doorbell.offset - (doorbell.offset % page.size);
    const end = start + page.size;
    // Alone: no other queue's doorbell and no other structure shares the page, and all of it is the structure's.
    const shared = all.some(
      (other) =>
        other.region === doorbell.region &&
        other.offset !== notify.offset &&
        other.offset < end &&
        start < other.offset + other.length,
    );
    const wide = notify.notify_off_multiplier % page.size === 0 && notify.notify_off_multiplier > 0;
    const inside = start >= notify.offset && end <= notify.offset + notify.length;
    return wide && inside && !shared ? page : undefined;
  }

  setConfigVector(vector: number): void {
    this.#writeBack(AT.msix_config, vector, "MSI-X vector of the configuration (msix_config)");
  }

  get configSize(): number {
    return this.structures.device?.length ?? 0;
  }

  readConfig(offset: number, length: number): Uint8Array {
    const { device } = this.structures;
    if (!device || offset < 0 || length < 0 || offset + length > device.length) {
      throw new RangeError(`device configuration ${offset}+${length} of ${device?.length ?? 0} bytes`);
    }
    let bytes: Uint8Array = new Uint8Array();
    // Virtio 1.3 §4.1.4.3.1: what was read belongs together when the generation stayed the same.
    const settled = waitUntil(() => {
      const before = this.#read(AT.config_generation, 1);
      bytes = readConfigBytes(this.deviceType, offset, length, (at, width) =>
        this.fn.read(device.region, device.offset + at, width),
      );
      return this.#read(AT.config_generation, 1) === before;
    }, this.limitMs);
    if (!settled)
      throw deviceStuck(this.fn, "a change of its configuration (config_generation)", this.limitMs);
    return bytes;
  }

  #read(field: number, width: RegisterWidth): number {
    return this.fn.read(this.structures.common.region, this.structures.common.offset + field, width);
  }

  #write(field: number, width: RegisterWidth, value: number): void {
    this.fn.write(this.structures.common.region, this.structures.common.offset + field, width, value);
  }

  #writeAddress(lowField: number, iova: bigint): void {
    // 64-bit fields are two of 32 bits (virtio 1.3 §4.1.3.1).
    this.#write(lowField, 4, Number(iova & 0xffffffffn));
    this.#write(lowField + 4, 4, Number(iova >> 32n));
  }

  /** Writes a 16-bit register that the device may refuse, which shows when it is read back (§4.1.5.1.3). */
  #writeBack(field: number, value: number, what: string): void {
    this.#write(field, 2, value);
    const got = this.#read(field, 2);
    if (got === value) return;
    if (this.#gone()) throw deviceGone(this.fn);
    throw deviceError(this.fn, `the device refuses the ${what}`, `wrote ${value}, it reads ${got}`);
  }

  #queueSize(index: number): number {
    this.#select(index);
    const size = this.#read(AT.queue_size, 2);
    if (size === 0xffff) throw deviceGone(this.fn);
    return size;
  }

  #select(index: number): void {
    this.#write(AT.queue_select, 2, index);
  }

  /** A status of all ones together with a count of all ones is no device. */
  #gone(): boolean {
    return this.status() === 0xff && this.#read(AT.num_queues, 2) === 0xffff;
  }
}
