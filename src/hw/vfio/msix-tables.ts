import type { Regions } from "./regions.ts";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "./uapi.ts";

const PCI_CAPABILITY_LIST = 0x34;
const PCI_CAP_ID_MSIX = 0x11;
const FIRST_CAPABILITY = 0x40;
const LAST_CAPABILITY = 0xf4;

/** A part of a BAR that user space must not be given. */
export interface MsixTable {
  readonly bar: number;
  /** First byte, and the byte behind the last. */
  readonly start: number;
  readonly end: number;
}

/** Where a device's MSI-X vector table and pending bits lie (PCI 3.0 §6.8.2); none without MSI-X. */
export function msixTables(regions: Regions): MsixTable[] {
  const read = (offset: number, width: 1 | 2 | 4) =>
    regions.read(VFIO_PCI_CONFIG_REGION_INDEX, offset, width);
  const seen = new Set<number>();
  let at = read(PCI_CAPABILITY_LIST, 1) & 0xfc;
  while (at >= FIRST_CAPABILITY && at <= LAST_CAPABILITY && !seen.has(at)) {
    seen.add(at);
    if (read(at, 1) === PCI_CAP_ID_MSIX) {
      const vectors = (read(at + 2, 2) & 0x7ff) + 1;
      return [
        place(read(at + 4, 4), 16 * vectors),
        // One pending bit a vector, in words of 64.
        place(read(at + 8, 4), 8 * Math.ceil(vectors / 64)),
      ];
    }
    at = read(at + 1, 1) & 0xfc;
  }
  return [];
}

/** The low three bits name the BAR, the others are the offset. */
function place(register: number, length: number): MsixTable {
  const start = (register & ~7) >>> 0;
  return { bar: register & 7, start, end: start + length };
}
