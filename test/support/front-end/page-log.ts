import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { MappedMemory } from "../../../src/hw/ffi/mmap.ts";
import type { NetQueue } from "./net-pair.ts";

const PAGE = 4096;
/** Bytes of the bitmap: enough for 32 GiB of guest addresses. */
export const LOG_BYTES = 1 << 20;

/** The front-end's bitmap of dirty pages. SAFETY: the map is this object's until `close`. */
export class PageLog {
  readonly fd: number;
  readonly #memory: MappedMemory;

  /** @param offset where in its file the bitmap begins, a multiple of the page size */
  constructor(readonly offset = 0) {
    this.fd = memfd("guest-log", offset + LOG_BYTES);
    this.#memory = MappedMemory.map(this.fd, offset + LOG_BYTES, 0, "dirty log");
  }

  get bits(): Uint8Array {
    return this.#memory.window(0).u8.subarray(this.offset);
  }

  /** Whether the file has a bit outside of the bitmap's first `bytes`. */
  spilled(bytes = LOG_BYTES): boolean {
    const { u8 } = this.#memory.window(0);
    return u8.some((byte, at) => byte !== 0 && (at < this.offset || at >= this.offset + bytes));
  }

  clear(): void {
    this.bits.fill(0);
  }

  has(page: number): boolean {
    return ((this.bits[page >>> 3]! >> (page & 7)) & 1) === 1;
  }

  get count(): number {
    return this.bits.reduce((sum, byte) => {
      let bits = 0;
      for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1;
      return sum + bits;
    }, 0);
  }

  /**
   * Of the pages that the device side writes while every buffer that takes part is used once, those without a bit.
   * Buffers that never found room in the ring are idle, as the driver takes the last one back first.
   */
  missing(queues: readonly NetQueue[], packed: boolean): string[] {
    const missing: string[] = [];
    for (const queue of queues) {
      for (const page of devicePages(queue, packed)) {
        if (!this.has(page)) missing.push(`queue ${queue.index}: page 0x${page.toString(16)}`);
      }
    }
    return missing;
  }

  close(): void {
    this.#memory.unmap();
    closeFd(this.fd);
  }
}

function devicePages({ index, ring, buffers, idle }: NetQueue, packed: boolean): Set<number> {
  const pages = new Set<number>();
  const add = (gpa: number, length: number) => {
    const last = Math.floor((gpa + length - 1) / PAGE);
    for (let page = Math.floor(gpa / PAGE); page <= last; page++) pages.add(page);
  };
  const parts = packed ? [ring.desc, ring.used] : [ring.used];
  for (const part of parts) add(Number(part.gpa), part.u8.byteLength);
  if (index % 2 === 0) {
    for (const { chain } of buffers.filter((buffer) => !idle.includes(buffer))) {
      for (const { low, high, length } of chain.segments) add(high * 2 ** 32 + low, length);
    }
  }
  return pages;
}
