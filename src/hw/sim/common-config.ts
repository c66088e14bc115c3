import type { RegisterWidth } from "../pci-function.ts";
import { NO_VECTOR } from "./virtio.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** What the common configuration registers act on. */
export interface CommonTarget {
  readonly offered: bigint;
  readonly vectors: number;
  readonly numQueues: number;
  status: number;
  configVector: number;
  generation(): number;
  /** The selected queue, undefined where there is none. */
  queue(index: number): Virtqueue | undefined;
  queueSize(queue: Virtqueue): number;
  setQueueSize(queue: Virtqueue, size: number): void;
  /** Driver features, words 0 and 1. */
  readonly driverFeatures: Uint32Array;
  setDriverFeatures(word: number, value: number): void;
  enable(queue: Virtqueue): void;
  resetQueue(queue: Virtqueue): void;
  /** The driver did what it must not; the access has no effect. */
  violation(text: string): void;
}

const WIDTHS = new Map<number, RegisterWidth>([
  [0, 4],
  [4, 4],
  [8, 4],
  [12, 4],
  [16, 2],
  [18, 2],
  [20, 1],
  [21, 1],
  [22, 2],
  [24, 2],
  [26, 2],
  [28, 2],
  [30, 2],
  ...[32, 36, 40, 44, 48, 52].map((offset): [number, RegisterWidth] => [offset, 4]),
  [56, 2],
  [58, 2],
]);

/** struct virtio_pci_common_cfg, virtio 1.3 §4.1.4.3: each register at its own width, 64-bit ones as two halves. */
export class CommonConfig {
  readonly #target: CommonTarget;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;

  constructor(target: CommonTarget) {
    this.#target = target;
  }

  reset(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#queueSelect = 0;
  }

  read(offset: number, width: RegisterWidth): number {
    const target = this.#target;
    if (WIDTHS.get(offset) !== width) {
      target.violation(`read of ${width} bytes at ${offset} of the common configuration`);
      return 0;
    }
    const queue = target.queue(this.#queueSelect);
    switch (offset) {
      case 0:
        return this.#deviceFeatureSelect;
      case 4: {
        const word = this.#deviceFeatureSelect;
        return word > 1 ? 0 : Number((target.offered >> BigInt(32 * word)) & 0xffff_ffffn);
      }
      case 8:
        return this.#driverFeatureSelect;
      case 12:
        return target.driverFeatures[this.#driverFeatureSelect] ?? 0;
      case 16:
        return target.configVector;
      case 18:
        return target.numQueues;
      case 20:
        return target.status;
      case 21:
        return target.generation();
      case 22:
        return this.#queueSelect;
      case 24:
        return queue ? target.queueSize(queue) : 0;
      case 26:
        return queue?.vector ?? NO_VECTOR;
      case 28:
        return queue?.enabled ? 1 : 0;
      case 30:
        return queue?.index ?? 0;
      case 56:
        return queue?.index ?? 0;
      case 58:
        return queue?.resetting ? 1 : 0;
      default:
        return queue?.addresses[(offset - 32) / 4] ?? 0;
    }
  }

  write(offset: number, width: RegisterWidth, value: number): void {
    const target = this.#target;
    if (WIDTHS.get(offset) !== width) {
      target.violation(`write of ${width} bytes at ${offset} of the common configuration`);
      return;
    }
    switch (offset) {
      case 0:
        this.#deviceFeatureSelect = value;
        return;
      case 8:
        this.#driverFeatureSelect = value;
        return;
      case 12:
        target.setDriverFeatures(this.#driverFeatureSelect, value);
        return;
      case 16:
        target.configVector = value < target.vectors ? value : NO_VECTOR;
        return;
      case 20:
        target.status = value;
        return;
      case 22:
        this.#queueSelect = value;
        return;
      case 4:
      case 18:
      case 21:
      case 30:
      case 56:
        target.violation(`write to the read-only register at ${offset} of the common configuration`);
        return;
    }
    const queue = target.queue(this.#queueSelect);
    if (queue) this.#writeQueue(queue, offset, value);
    else target.violation(`write to registers of queue ${this.#queueSelect}, which does not exist`);
  }

  #writeQueue(queue: Virtqueue, offset: number, value: number): void {
    const target = this.#target;
    switch (offset) {
      case 26:
        // §4.1.5.1.3: a vector that can not be had reads back as NO_VECTOR.
        queue.vector = value < target.vectors ? value : NO_VECTOR;
        return;
      case 28:
        // §4.1.4.3.2: a driver must not write 0; the device stays enabled.
        if (value === 1 && !queue.enabled) target.enable(queue);
        else target.violation(`write of ${value} to queue_enable of queue ${queue.index}`);
        return;
      case 58:
        if (value === 1) target.resetQueue(queue);
        else target.violation(`write of ${value} to queue_reset of queue ${queue.index}`);
        return;
    }
    if (queue.enabled) {
      target.violation(`change of queue ${queue.index} while it is enabled`);
    } else if (offset === 24) {
      target.setQueueSize(queue, value);
    } else {
      queue.addresses[(offset - 32) / 4] = value;
    }
  }
}
