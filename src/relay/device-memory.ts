import type { SharedBuffer } from "../hw/dma-buffer.ts";
import { alignUp } from "../hw/virtio/ring-layout.ts";

const LINE = 64;

/** Bytes of the avail and used rings of ours (split), both event fields included, on cache lines of their own. */
const availBytes = (size: number) => alignUp(6 + 2 * size, LINE);
/**
 * The used ring's elements of 8 bytes follow its flags and index, 4 bytes. These stand at the end of a line, so that no
 * element crosses one, or a page, which devices should not mind but some do (§2.7 asks for an alignment of 4).
 */
const USED_OFFSET = LINE - 4;
const usedBytes = (size: number) => alignUp(USED_OFFSET + 6 + 8 * size, LINE);

/** Memory that a relay needs in a DmaBuffer, a multiple of 64. */
export function relayBytes(packed: boolean, size: number): number {
  return packed ? alignUp(16 * size, LINE) + 2 * LINE : availBytes(size) + usedBytes(size);
}

/** A part of our side of a ring: views that begin with its first byte. SAFETY: the DmaBuffer's owner keeps it. */
export interface DevicePart {
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly iova: bigint;
}

function partOf(buffer: SharedBuffer, offset: number, length: number): DevicePart {
  const { buffer: bytes } = buffer.memory.window(0).u8;
  return {
    u16: new Uint16Array(bytes, offset, length >> 1),
    u32: new Uint32Array(bytes, offset, length >> 2),
    i32: new Int32Array(bytes, offset, length >> 2),
    iova: buffer.iova + BigInt(offset),
  };
}

export function splitDeviceMemory(
  buffer: SharedBuffer,
  offset: number,
  size: number,
): { avail: DevicePart; used: DevicePart } {
  return {
    avail: partOf(buffer, offset, availBytes(size)),
    used: partOf(buffer, offset + availBytes(size) + USED_OFFSET, usedBytes(size) - USED_OFFSET),
  };
}

export function packedDeviceMemory(
  buffer: SharedBuffer,
  offset: number,
  size: number,
): { desc: DevicePart; driver: DevicePart; device: DevicePart } {
  const events = offset + alignUp(16 * size, LINE);
  return {
    desc: partOf(buffer, offset, 16 * size),
    driver: partOf(buffer, events, LINE),
    device: partOf(buffer, events + LINE, LINE),
  };
}
