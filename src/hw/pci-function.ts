import type { Trace } from "./trace.ts";

/**
 * The seam between the driver and the thing it drives: a PCI function whose registers, interrupts and DMA this
 * process may use. Implemented by VFIO (src/hw/vfio) and by the simulated device (src/hw/sim); one contract suite
 * (test/contract) runs against both.
 */
export interface PciFunction {
  /** Full BDF such as `0000:00:04.0`, or `sim`. */
  readonly name: string;
  readonly dma: DmaSpace;
  /** Is told of commands to the device, which no register shows; undefined where nobody wants to know. */
  readonly trace?: Trace;

  /** Bytes of a region, 0 when it is absent. Regions 0–5 are the BARs, `CONFIG_REGION` the config space. */
  regionSize(region: number): number;
  /** Whether a BAR is an I/O port range, whose doorbells may not be mapped. */
  isIoPort(region: number): boolean;
  /** One register access of exactly this width, naturally aligned, little endian, unsigned. */
  read(region: number, offset: number, width: RegisterWidth): number;
  write(region: number, offset: number, width: RegisterWidth, value: number): void;

  /** MSI-X vectors that the device has; 0 when it has no MSI-X. */
  readonly msixVectors: number;
  /** Allocates `count` MSI-X vectors, all without a trigger. Replaces an earlier allocation. */
  enableMsix(count: number): void;
  /**
   * Lets a vector signal this eventfd; -1 for none. The fd stays the caller's and may be closed afterwards. Throws an
   * OperatorError where the kernel refuses it; the vector may then signal nobody.
   */
  setVector(vector: number, eventfd: number): void;
  /** Frees all vectors; harmless when none is allocated. */
  disableMsix(): void;
  /** Signals the eventfd on a fatal error or when the kernel wants the device back; false where not offered. */
  watch(event: "error" | "release", eventfd: number): boolean;

  /** Lets the kernel write the doorbell whenever the eventfd is signalled (ioeventfd). Throws when refused. */
  bindDoorbell(doorbell: Doorbell, eventfd: number): void;
  /** Undoes `bindDoorbell` with the same doorbell. */
  unbindDoorbell(doorbell: Doorbell): void;
  /** The page that holds a doorbell, where it can be mapped into another process and holds nothing else. */
  doorbellPage(doorbell: Doorbell): MappablePage | undefined;

  /** Function level reset. Mappings survive it, interrupts and registers do not. */
  reset(): void;
  /** Fds of VFIO for those who want to pass them on; undefined where there is none. They stay the function's. */
  readonly vfioFds: { readonly device: number; readonly group: number | undefined } | undefined;
  /** Resets the device, removes all mappings and closes every fd. A second call does nothing. */
  close(): void;
}

export type RegisterWidth = 1 | 2 | 4;

/** Region index of the PCI configuration space (as in VFIO). */
export const CONFIG_REGION = 7;

/** A write that tells the device that a queue has new entries. */
export interface Doorbell {
  readonly region: number;
  /** Byte offset in the region. */
  readonly offset: number;
  readonly width: 2 | 4;
  readonly value: number;
}

/** A page of `size` bytes at `offset` of `fd`, for mmap; the fd stays the owner's. */
export interface MappablePage {
  readonly fd: number;
  readonly offset: bigint;
  readonly size: number;
}

/** Addresses from `first` to `last`, both included. */
export interface IovaRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Memory of this process that a device may use. */
export interface DmaMemory {
  /** Host virtual address, page aligned. SAFETY: stays mapped until `unmap` of its IOVA has returned. */
  readonly hva: number;
  /** Bytes, a multiple of the page size. */
  readonly size: number;
  /** The file behind it can not shrink (it is sealed or ours), so that an access can not raise SIGBUS. */
  readonly stable: boolean;
}

/** The device's own address space. */
export interface DmaSpace {
  /** Smallest page that can be mapped, in bytes. */
  readonly pageSize: number;
  /** Addresses that can be mapped, ascending and apart; what lies between them is reserved. */
  readonly usable: readonly IovaRange[];
  /** Makes memory readable and writable for the device. Throws when the range is refused, overlaps or is too much. */
  map(iova: bigint, memory: DmaMemory): void;
  /** Removes exactly one earlier `map`. */
  unmap(iova: bigint, size: number): void;
}
