import type { Doorbell, MappablePage, PciFunction } from "../pci-function.ts";

/** Vector number that means "no interrupt" (VIRTIO_MSI_NO_VECTOR, virtio 1.3 §4.1.5.1.3). */
export const NO_VECTOR = 0xffff;

/** Where a virtqueue lies, in the device's addresses (IOVA), and what it signals. */
export interface QueueSetup {
  /** Entries. */
  readonly size: number;
  /** Descriptor table (split) or descriptor ring (packed). */
  readonly desc: bigint;
  /** Available ring (split) or driver event suppression area (packed). */
  readonly driver: bigint;
  /** Used ring (split) or device event suppression area (packed). */
  readonly device: bigint;
  /** MSI-X vector, or `NO_VECTOR`. */
  readonly vector: number;
}

/**
 * The registers of a virtio PCI device, modern or legacy. It knows no order: `negotiate` and the users keep to
 * virtio 1.3 §3.1.1. Every wait is bounded and every value that the device may refuse is read back; a device that
 * does not follow throws an OperatorError that names it and the register.
 */
export interface VirtioTransport {
  readonly fn: PciFunction;
  readonly layout: "modern" | "legacy";
  /** Virtio device type: 1 network, 2 block (virtio 1.3 §5). */
  readonly deviceType: number;
  /** Virtqueues; the number may change once features are accepted, so it is read anew. */
  readonly numQueues: number;

  status(): number;
  setStatus(status: number): void;
  /** Writes status 0 and waits until it reads 0. */
  reset(): void;
  /** Throws when the device no longer answers (all ones). */
  deviceFeatures(): bigint;
  setDriverFeatures(features: bigint): void;

  /** Largest size of a queue; 0 when there is no such queue. */
  maxQueueSize(index: number): number;
  /** Programmes a queue without enabling it. The legacy layout dictates the size and one contiguous ring. */
  setupQueue(index: number, setup: QueueSetup): void;
  enableQueue(index: number): void;
  /** Whether the queue is enabled now. */
  queueEnabled(index: number): boolean;
  /** Resets one queue (needs RING_RESET negotiated). */
  resetQueue(index: number): void;
  doorbell(index: number): Doorbell;
  /** The page that holds this queue's doorbell and nothing else of the device, where there is such a page. */
  doorbellPage(index: number): MappablePage | undefined;

  setConfigVector(vector: number): void;
  /** Bytes of the device-specific configuration. */
  readonly configSize: number;
  /** Reads configuration bytes that belong together (config_generation loop). */
  readConfig(offset: number, length: number): Uint8Array;
}
