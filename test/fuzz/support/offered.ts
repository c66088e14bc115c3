import type { NetQueue } from "../../support/front-end/net-pair.ts";
import type { MemoryWatch, Range } from "./memory-watch.ts";

const WRITE = 2;
const INDIRECT = 4;
/** The longest table that a back-end takes. */
const LONGEST = 1024;

/** Every buffer that any descriptor of this ring, or of a table that it points to, lets the device write. */
export function offeredBuffers({ ring }: NetQueue, packed: boolean, memory: MemoryWatch): Range[] {
  const found: Range[] = [];
  const look = (gpa: bigint, deep: boolean) => {
    const view = memory.read(gpa);
    if (!view) return;
    const range = { gpa: view.getBigUint64(0, true), bytes: view.getUint32(8, true) };
    const flags = view.getUint16(packed ? 14 : 12, true);
    if (flags & WRITE) found.push(range);
    if (flags & INDIRECT && deep) {
      const entries = Math.min(range.bytes >>> 4, LONGEST);
      for (let i = 0; i < entries; i++) look(range.gpa + BigInt(16 * i), false);
    }
  };
  for (let i = 0; i < ring.size; i++) look(ring.desc.gpa + BigInt(16 * i), true);
  return found;
}
