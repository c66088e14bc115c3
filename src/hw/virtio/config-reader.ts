import type { RegisterWidth } from "../pci-function.ts";

/**
 * Access widths of the device configuration's fields in their order, by device type. A driver must access each field
 * at its own width (virtio 1.3 §4.1.3.1); 64-bit fields count as two of 32.
 */
const FIELD_WIDTHS: Readonly<Record<number, readonly RegisterWidth[]>> = {
  1: [1, 1, 1, 1, 1, 1, 2, 2, 2, 4, 1, 1, 2, 4],
  2: [4, 4, 4, 4, 2, 1, 1, 4, 1, 1, 2, 4, 1, 1, 2, 4, 4, 4, 4, 4, 1, 1, 1, 1, 4, 4, 4],
};

/**
 * Reads configuration bytes, each field that lies wholly in the range at its own width and all else by bytes.
 * @param read one access at an offset within the device configuration
 */
export function readConfigBytes(
  deviceType: number,
  offset: number,
  length: number,
  read: (offset: number, width: RegisterWidth) => number,
): Uint8Array {
  const bytes = new Uint8Array(length);
  const widths = widthsByStart(deviceType);
  for (let at = offset; at < offset + length; ) {
    const field = widths.get(at) ?? 1;
    const width = at + field <= offset + length ? field : 1;
    const value = read(at, width);
    for (let i = 0; i < width; i++) bytes[at - offset + i] = value >>> (8 * i);
    at += width;
  }
  return bytes;
}

function widthsByStart(deviceType: number): Map<number, RegisterWidth> {
  const starts = new Map<number, RegisterWidth>();
  let at = 0;
  for (const width of FIELD_WIDTHS[deviceType] ?? []) {
    starts.set(at, width);
    at += width;
  }
  return starts;
}
