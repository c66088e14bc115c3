import { DeviceFault } from "./device-fault.ts";
import type { DmaPort } from "./dma-port.ts";
import { DESC_INDIRECT, DESC_NEXT, DESC_SIZE } from "./virtio.ts";

/**
 * Entries of the indirect table that the descriptor just read points to. Throws DeviceFault when it is none
 * (virtio 1.3 §2.7.5.3.1).
 */
export function indirectEntries(dma: DmaPort, flags: number, negotiated: boolean): number {
  if (!negotiated) throw new DeviceFault("indirect descriptor although INDIRECT_DESC was not negotiated");
  if (flags & DESC_NEXT) throw new DeviceFault("descriptor with both INDIRECT and NEXT");
  const length = dma.d2;
  if (length === 0 || length % DESC_SIZE) throw new DeviceFault(`indirect table of ${length} bytes`);
  if (dma.d1 > 0xfffff) throw new DeviceFault("indirect table beyond 52 bits");
  return length / DESC_SIZE;
}

/** Throws DeviceFault for a table within a table. */
export function refuseNested(flags: number): void {
  if (flags & DESC_INDIRECT) throw new DeviceFault("indirect descriptor inside an indirect table");
}
