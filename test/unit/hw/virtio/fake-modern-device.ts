import { CONFIG_REGION, type RegisterWidth } from "../../../../src/hw/pci-function.ts";
import { virtio_pci_common_cfg } from "../../../../src/hw/virtio/registers.ts";
import { FakeFunction } from "./fake-function.ts";
import { QEMU_CAPS, writePciConfig } from "./pci-config.ts";

const AT = virtio_pci_common_cfg.offsets;
const Q_RESET = 58;
const BAR = 4;
const DEVICE_CONFIG = 0x2000;
const NOTIFY = 0x3000;
const RING_RESET = 1n << 40n;

export interface FakeQueue {
  size: number;
  maxSize: number;
  vector: number;
  enabled: number;
  notifyOff: number;
  resetReads: number;
  disableReads: number;
  addresses: number[];
}

/** A modern virtio device whose registers follow the rules, except where a fault says otherwise. */
export class FakeModernDevice extends FakeFunction {
  offered = 1n << 32n;
  driverFeatures = 0n;
  status = 0;
  configVector = 0xffff;
  generation = 0;
  readonly deviceConfig = new Uint8Array(64);
  readonly queues: FakeQueue[];
  /** Doorbell values in the order they came. */
  readonly rings: number[] = [];
  onDoorbell: (queue: number) => void = () => {};
  /** What this device does wrong. */
  readonly faults = {
    resetNeverEnds: false,
    queueResetNeverEnds: false,
    refusesFeatures: false,
    refusesVectors: false,
    refusesSizes: false,
    generationNeverSettles: false,
  };
  #select = 0;
  #featureSelect = 0;
  #driverFeatureSelect = 0;

  constructor(queues = 4, deviceId = 0x1041) {
    super();
    this.regions.set(BAR, new Uint8Array(0x4000));
    writePciConfig(this, deviceId, QEMU_CAPS);
    this.queues = Array.from({ length: queues }, (_, i) => freshQueue(i));
  }

  override onRead(region: number, offset: number, width: RegisterWidth): number {
    if (region === CONFIG_REGION) return super.onRead(region, offset, width);
    if (offset >= DEVICE_CONFIG && offset < NOTIFY) return this.#deviceConfig(offset - DEVICE_CONFIG, width);
    const queue = this.queues[this.#select];
    switch (offset) {
      case AT.device_feature:
        return Number((this.offered >> BigInt(32 * this.#featureSelect)) & 0xffffffffn);
      case AT.num_queues:
        return this.queues.length;
      case AT.device_status:
        return this.status;
      case AT.config_generation:
        if (this.faults.generationNeverSettles) this.generation++;
        return this.generation & 0xff;
      case AT.msix_config:
        return this.configVector;
      case AT.queue_size:
        return queue?.size ?? 0;
      case AT.queue_msix_vector:
        return queue?.vector ?? 0xffff;
      case AT.queue_enable:
        return queue && (queue.enabled || queue.disableReads-- > 0) ? 1 : 0;
      case AT.queue_notify_off:
        return queue?.notifyOff ?? 0;
      case Q_RESET:
        return queue && queue.resetReads-- > 0 ? 1 : 0;
    }
    throw new Error(`read of register ${offset}`);
  }

  override onWrite(region: number, offset: number, width: RegisterWidth, value: number): void {
    if (region === CONFIG_REGION) {
      super.onWrite(region, offset, width, value);
      return;
    }
    if (offset >= NOTIFY) {
      this.rings.push(value);
      this.onDoorbell(value);
      return;
    }
    const queue = this.queues[this.#select];
    switch (offset) {
      case AT.device_feature_select:
        this.#featureSelect = value;
        return;
      case AT.guest_feature_select:
        this.#driverFeatureSelect = value;
        return;
      case AT.guest_feature: {
        const shift = BigInt(32 * this.#driverFeatureSelect);
        this.driverFeatures =
          (this.driverFeatures & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
        return;
      }
      case AT.device_status:
        this.#setStatus(value);
        return;
      case AT.queue_select:
        this.#select = value;
        return;
      case AT.msix_config:
        this.configVector = this.faults.refusesVectors ? 0xffff : value;
        return;
    }
    if (!queue) return;
    switch (offset) {
      case AT.queue_size:
        queue.size = this.faults.refusesSizes ? queue.maxSize : value;
        return;
      case AT.queue_msix_vector:
        queue.vector = this.faults.refusesVectors ? 0xffff : value;
        return;
      case AT.queue_enable:
        if (value === 0) throw new Error("0 was written to queue_enable");
        queue.enabled = value;
        return;
      case Q_RESET:
        if (!(this.driverFeatures & RING_RESET)) throw new Error("queue_reset without RING_RESET");
        Object.assign(queue, freshQueue(queue.notifyOff, queue.maxSize));
        // It counts as enabled for a while after queue_reset reads 0.
        queue.disableReads = 3;
        queue.resetReads = this.faults.queueResetNeverEnds ? Number.POSITIVE_INFINITY : 3;
        return;
    }
    queue.addresses[(offset - AT.queue_desc_lo) / 4] = value;
  }

  #setStatus(value: number): void {
    if (value === 0) {
      if (this.faults.resetNeverEnds) return;
      this.queues.forEach((queue, i) => {
        Object.assign(queue, freshQueue(i, queue.maxSize));
      });
      this.driverFeatures = 0n;
    }
    const refused = this.faults.refusesFeatures && value & 8;
    this.status = refused ? value & ~8 : value;
  }

  #deviceConfig(offset: number, width: RegisterWidth): number {
    const view = new DataView(this.deviceConfig.buffer);
    return width === 1
      ? view.getUint8(offset)
      : width === 2
        ? view.getUint16(offset, true)
        : view.getUint32(offset, true);
  }
}

function freshQueue(notifyOff: number, maxSize = 256): FakeQueue {
  return {
    size: maxSize,
    maxSize,
    vector: 0xffff,
    enabled: 0,
    notifyOff,
    resetReads: 0,
    disableReads: 0,
    addresses: [],
  };
}
