import type { MsixCapability } from "../pci/capabilities.ts";
import {
  CONFIG_REGION,
  type Doorbell,
  type MappablePage,
  type PciFunction,
  type RegisterWidth,
} from "../pci-function.ts";
import { waitUntil } from "./bounded-wait.ts";
import { readConfigBytes } from "./config-reader.ts";
import { deviceError, deviceGone, deviceStuck } from "./device-error.ts";
import { legacyPageNumber } from "./legacy-ring.ts";
import { checkQueueSetup } from "./queue-setup.ts";
import {
  VIRTIO_MSI_CONFIG_VECTOR,
  VIRTIO_MSI_QUEUE_VECTOR,
  VIRTIO_PCI_GUEST_FEATURES,
  VIRTIO_PCI_HOST_FEATURES,
  VIRTIO_PCI_QUEUE_NOTIFY,
  VIRTIO_PCI_QUEUE_NUM,
  VIRTIO_PCI_QUEUE_PFN,
  VIRTIO_PCI_QUEUE_SEL,
  VIRTIO_PCI_STATUS,
} from "./registers.ts";
import { NO_VECTOR, type QueueSetup, type VirtioTransport } from "./transport.ts";

const BAR0 = 0;
const CONFIG_WITHOUT_MSIX = 20;
const CONFIG_WITH_MSIX = 24;
const MSIX_ENABLE = 0x8000;
/** No legacy device has more; it ends the search for the last queue. */
const MOST_QUEUES = 1024;

/** The registers of virtio 0.9.5 in BAR 0, ports or memory (virtio 1.3 §4.1.4.10). */
export class LegacyTransport implements VirtioTransport {
  readonly layout = "legacy";
  /** Page frame numbers of queues that are set up and not enabled yet. */
  readonly #prepared = new Map<number, number>();

  constructor(
    readonly fn: PciFunction,
    readonly deviceType: number,
    readonly msix: MsixCapability | undefined,
    /** Longest time in milliseconds that any answer of the device may take. */
    readonly limitMs: number,
  ) {}

  /** There is no register for it: queues follow each other, and the first of size 0 ends them. */
  get numQueues(): number {
    let count = 0;
    while (count < MOST_QUEUES && this.maxQueueSize(count) > 0) count++;
    return count;
  }

  status(): number {
    return this.#read(VIRTIO_PCI_STATUS, 1);
  }

  setStatus(status: number): void {
    this.#write(VIRTIO_PCI_STATUS, 1, status);
  }

  reset(): void {
    this.setStatus(0);
    if (!waitUntil(() => this.status() === 0, this.limitMs)) {
      if (this.#gone()) throw deviceGone(this.fn);
      throw deviceStuck(this.fn, "the reset (device status)", this.limitMs);
    }
    this.#prepared.clear();
  }

  deviceFeatures(): bigint {
    const features = this.#read(VIRTIO_PCI_HOST_FEATURES, 4);
    if (features === 0xffffffff) throw deviceGone(this.fn);
    return BigInt(features);
  }

  setDriverFeatures(features: bigint): void {
    if (features >> 32n) {
      throw deviceError(
        this.fn,
        `features 0x${features.toString(16)} can not be set`,
        "the legacy layout has 32 bits",
      );
    }
    this.#write(VIRTIO_PCI_GUEST_FEATURES, 4, Number(features));
  }

  maxQueueSize(index: number): number {
    if (index < 0 || index >= MOST_QUEUES) return 0;
    this.#select(index);
    const size = this.#read(VIRTIO_PCI_QUEUE_NUM, 2);
    if (size === 0xffff) throw deviceGone(this.fn);
    return size;
  }

  setupQueue(index: number, setup: QueueSetup): void {
    const size = this.maxQueueSize(index);
    checkQueueSetup(this.fn, index, setup, { maxSize: size, packed: false });
    const pfn = legacyPageNumber(this.fn, index, setup, size);
    if (this.queueEnabled(index)) {
      throw deviceError(this.fn, `queue ${index} can not be set up`, "it is enabled already");
    }
    this.#setVector(VIRTIO_MSI_QUEUE_VECTOR, setup.vector, `queue ${index}`);
    this.#prepared.set(index, pfn);
  }

  enableQueue(index: number): void {
    const pfn = this.#prepared.get(index);
    if (pfn === undefined)
      throw deviceError(this.fn, `queue ${index} can not be enabled`, "it is not set up");
    this.#select(index);
    // The device uses the ring from this write on.
    this.#write(VIRTIO_PCI_QUEUE_PFN, 4, pfn);
    const got = this.#read(VIRTIO_PCI_QUEUE_PFN, 4);
    if (got !== pfn) {
      throw deviceError(
        this.fn,
        `the device refuses the address of queue ${index}`,
        `wrote ${pfn}, it reads ${got}`,
      );
    }
    this.#prepared.delete(index);
  }

  queueEnabled(index: number): boolean {
    this.#select(index);
    return this.#read(VIRTIO_PCI_QUEUE_PFN, 4) !== 0;
  }

  resetQueue(index: number): void {
    throw deviceError(
      this.fn,
      `queue ${index} can not be reset alone`,
      "the legacy layout has no register for it",
    );
  }

  doorbell(index: number): Doorbell {
    return { region: BAR0, offset: VIRTIO_PCI_QUEUE_NOTIFY, width: 2, value: index };
  }

  /** One register serves all queues, amid the others. */
  doorbellPage(_index: number): MappablePage | undefined {
    return undefined;
  }

  setConfigVector(vector: number): void {
    this.#setVector(VIRTIO_MSI_CONFIG_VECTOR, vector, "the configuration");
  }

  get configSize(): number {
    return Math.max(0, this.fn.regionSize(BAR0) - this.#configOffset());
  }

  readConfig(offset: number, length: number): Uint8Array {
    if (offset < 0 || length < 0 || offset + length > this.configSize) {
      throw new RangeError(`device configuration ${offset}+${length} of ${this.configSize} bytes`);
    }
    const start = this.#configOffset();
    const readOnce = () =>
      readConfigBytes(this.deviceType, offset, length, (at, width) => this.#read(start + at, width));
    // Without a generation counter, two equal readings in a row stand for one (virtio 1.3 §2.5.4).
    let bytes = readOnce();
    const settled = waitUntil(() => {
      const before = bytes;
      bytes = readOnce();
      return Buffer.compare(before, bytes) === 0;
    }, this.limitMs);
    if (!settled) throw deviceStuck(this.fn, "a change of its configuration", this.limitMs);
    return bytes;
  }

  #setVector(register: number, vector: number, whose: string): void {
    if (!this.#msixEnabled()) {
      if (vector === NO_VECTOR) return;
      throw deviceError(this.fn, `MSI-X vector ${vector} of ${whose} can not be set`, "MSI-X is not enabled");
    }
    this.#write(register, 2, vector);
    const got = this.#read(register, 2);
    if (got !== vector) {
      throw deviceError(
        this.fn,
        `the device refuses MSI-X vector ${vector} of ${whose}`,
        `wrote ${vector}, it reads ${got}`,
      );
    }
  }

  /** The registers move when MSI-X is enabled, so this is asked anew each time. */
  #msixEnabled(): boolean {
    if (!this.msix) return false;
    return (this.fn.read(CONFIG_REGION, this.msix.at + 2, 2) & MSIX_ENABLE) !== 0;
  }

  #configOffset(): number {
    return this.#msixEnabled() ? CONFIG_WITH_MSIX : CONFIG_WITHOUT_MSIX;
  }

  #read(register: number, width: RegisterWidth): number {
    return this.fn.read(BAR0, register, width);
  }

  #write(register: number, width: RegisterWidth, value: number): void {
    this.fn.write(BAR0, register, width, value);
  }

  #select(index: number): void {
    this.#write(VIRTIO_PCI_QUEUE_SEL, 2, index);
  }

  #gone(): boolean {
    return this.#read(VIRTIO_PCI_HOST_FEATURES, 4) === 0xffffffff;
  }
}
