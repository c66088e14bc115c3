import { readOwnMemory } from "../../hw/ffi/process-memory.ts";
import { isPackedAvail, packedFlags, packedUsedPosition } from "../../vdpa/packed-position.ts";
import type { QueueReport } from "./device-report.ts";

/**
 * Where a guest's ring stands. Split: the indices as in the ring, 0 to 65535. Packed: descriptor positions, with
 * the wrap counters of that lap.
 */
export interface RingPositions {
  readonly avail: number;
  readonly avail_wrap: boolean | null;
  readonly used: number;
  readonly used_wrap: boolean | null;
  /** Entries (split) or descriptors (packed) that are available and not used. */
  readonly lag: number;
}

const DESC_SIZE = 16;

/**
 * Reads a ring from another thread than the one that serves it, without a lock: the numbers are those of one moment
 * each. Undefined when the memory is not there any more.
 */
export function readPositions({ ring, layout, size }: QueueReport): RingPositions | undefined {
  if (!ring) return undefined;
  if (layout === "packed") {
    const bytes = copy(ring.desc_hva, DESC_SIZE * size);
    return bytes && packedPositions(bytes);
  }
  // The used index first, so that it can not be ahead of the available one.
  const used = readIndex(ring.device_hva);
  const avail = used === undefined ? undefined : readIndex(ring.driver_hva);
  if (used === undefined || avail === undefined) return undefined;
  return { avail, avail_wrap: null, used, used_wrap: null, lag: (avail - used) & 0xffff };
}

/** The used position alone, as a number that grows by one per entry and begins anew at `modulus`. */
export function readUsed({ ring, layout, size }: QueueReport): { used: number; modulus: number } | undefined {
  if (!ring) return undefined;
  if (layout === "split") {
    const used = readIndex(ring.device_hva);
    return used === undefined ? undefined : { used, modulus: 65536 };
  }
  const bytes = copy(ring.desc_hva, DESC_SIZE * size);
  if (!bytes) return undefined;
  const { next, wrap } = packedUsedPosition(bytes);
  // The first lap has wrap counter 1 (virtio 1.3 §2.8.1).
  return { used: next + (wrap ? 0 : size), modulus: 2 * size };
}

/** The used position of a vring base, as `readUsed` gives it. */
export function usedOfBase({ layout, size, start: { base } }: QueueReport): number {
  if (layout === "split") return base & 0xffff;
  const half = base >>> 16;
  return (half & 0x7fff) + (half & 0x8000 ? 0 : size);
}

/** `idx` of an available or used ring (virtio 1.3 §2.7.6, §2.7.8). */
function readIndex(hva: number): number | undefined {
  const bytes = copy(hva + 2, 2);
  return bytes && bytes[0]! | (bytes[1]! << 8);
}

function copy(hva: number, length: number): Uint8Array | undefined {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  return readOwnMemory(hva, bytes) === 0 ? bytes : undefined;
}

/**
 * The positions that a packed ring's flags show (virtio 1.3 §2.8.1). Exact where each buffer takes one descriptor; a
 * used chain leaves its further descriptors as they were, so those of the last one count as available still.
 */
export function packedPositions(ring: Uint8Array): RingPositions {
  const size = ring.byteLength / DESC_SIZE;
  const { next, wrap } = packedUsedPosition(ring);
  let lag = 0;
  let at = next;
  let lap = wrap;
  while (lag < size) {
    if (!isPackedAvail(packedFlags(ring, at), lap)) break;
    lag++;
    if (++at === size) {
      at = 0;
      lap = !lap;
    }
  }
  return { avail: at, avail_wrap: lap, used: next, used_wrap: wrap, lag };
}
