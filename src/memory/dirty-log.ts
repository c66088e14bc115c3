import { fstatSync } from "node:fs";
import { isErrno } from "../hw/ffi/errno.ts";
import { fdKind, sealSize } from "../hw/ffi/fd.ts";
import { atomicOrBit } from "../hw/ffi/kernel-atomics.ts";
import { MappedMemory } from "../hw/ffi/mmap.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { hex } from "./region.ts";

/** Guest bytes that one bit of the log stands for (VHOST_LOG_PAGE). */
export const LOG_PAGE = 4096n;

/** A log that another thread of this process is to mark as well. Plain data. */
export interface SharedLog {
  /** The map: host virtual address and bytes. */
  readonly hva: number;
  readonly bytes: number;
  /** Bytes of the bitmap. */
  readonly size: number;
  readonly stable: boolean;
}

/** Bytes of a window of the map (MappedMemory). */
const WINDOW = 2 ** 31;
/** Where no byte of the first window is, for pages that need more than 31 bits. */
const FAR = 2 ** 31;

/**
 * The front-end's bitmap of dirty guest pages, mapped into this process: bit `page % 8` of byte `page / 8` stands for
 * 4 KiB of guest physical address. Bits are only ever set here, atomically, as others write the map at the same time.
 * A bit that can not be set is counted in `failures`, and then the migration must fail.
 * SAFETY: the map belongs to this object until `close`.
 */
export class DirtyLog {
  /** Bits that could not be set: beyond the log, or in a part of its file that is gone. */
  failures = 0;
  /** Bits that were set and had not been set already; as far as the kernel tells, where it sets them. */
  marked = 0;
  #firstFailure: string | undefined;
  #closed = false;
  /**
   * The bitmap as far as it lies in the first window, for loops that can not afford a call per page; empty where the
   * file may shrink. Only to test a bit inside of it; `markPages` sets it.
   */
  readonly bits: Uint8Array;

  private constructor(
    readonly memory: MappedMemory,
    /** Bytes of the bitmap. */
    readonly size: number,
    /** The file can not shrink any more. */
    readonly stable: boolean,
  ) {
    const { u8 } = memory.window(0);
    this.bits = stable ? new Uint8Array(u8.buffer, 0, Math.min(size, u8.byteLength)) : new Uint8Array(0);
  }

  /**
   * Maps `size` bytes from `offset` of the fd, which stays the caller's.
   * @throws OperatorError for an empty or unaligned log, one beyond its file, or an fd that can not be mapped
   */
  static map(fd: number, size: bigint, offset: bigint): DirtyLog {
    const refuse = (why: string, cause?: unknown): never => {
      throw new OperatorError(`dirty log of ${hex(size)} bytes at offset ${hex(offset)}`, {
        why,
        kind: "protocol",
        cause,
      });
    };
    if (size === 0n) refuse("its size is 0");
    if (offset + size >= 1n << 63n) refuse("offset + size overflow");
    if (offset % 4096n !== 0n) refuse("the offset is not a multiple of 4096");
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) refuse(`the fd is no memory file but ${fdKind(fd)}`);
    if (offset + size > stat.size) refuse(`it lies beyond the end of its file of ${hex(stat.size)} bytes`);
    const page = stat.blksize > 4096n ? stat.blksize : 4096n;
    if (offset % page !== 0n) refuse(`the offset is not a multiple of the file's page of ${page} bytes`);
    const length = ((size + page - 1n) / page) * page;
    try {
      const memory = MappedMemory.map(fd, Number(length), Number(offset), "dirty log");
      return new DirtyLog(memory, Number(size), sealSize(fd));
    } catch (error) {
      return refuse(
        isErrno(error, "EACCES", "EPERM") ? "the fd is not open read-write" : String(error),
        error,
      );
    }
  }

  /** What `attach` in another thread takes. */
  share(): SharedLog {
    return { hva: this.memory.hva, bytes: this.memory.size, size: this.size, stable: this.stable };
  }

  /**
   * The log of another thread, with failures of its own.
   * SAFETY: the owner closes its log only after this one was closed.
   */
  static attach({ hva, bytes, size, stable }: SharedLog): DirtyLog {
    return new DirtyLog(MappedMemory.borrow(hva, bytes), size, stable);
  }

  /** Takes over failures that another thread had with this log. */
  addFailures(count: number, first: string | undefined): void {
    this.failures += count;
    this.#firstFailure ??= first;
  }

  /** Whether the bit of the page that holds this guest address lies in the log. */
  covers(gpa: bigint): boolean {
    return gpa / LOG_PAGE / 8n < BigInt(this.size);
  }

  /** What the first of the `failures` was. */
  get firstFailure(): string | undefined {
    return this.#firstFailure;
  }

  /** Takes the place of a log that was in use until now: what could not be marked there is lost all the same. */
  replace(old: DirtyLog): void {
    this.failures += old.failures;
    this.#firstFailure ??= old.#firstFailure;
  }

  /** Marks the pages of what a device has written, `length` bytes from `gpa`. */
  mark(gpa: number, length: number): void {
    if (length <= 0) return;
    const page = Math.floor(gpa / 4096);
    this.markPages(page, Math.floor((gpa + length - 1) / 4096) - page + 1);
  }

  /**
   * Marks `count` pages. A bit that is already set is left alone: the write it stands for came before this look, so
   * whoever clears the bit later copies the page later still.
   */
  markPages(page: number, count: number): void {
    const bytes = this.bits;
    const end = page + count;
    for (let at = page; at < end; at++) {
      const byte = at < 2 ** 31 ? at >>> 3 : FAR;
      if (byte < bytes.length) {
        const bit = 1 << (at & 7);
        if ((bytes[byte]! & bit) === 0) this.#or(bytes, byte, bit);
      } else {
        this.#markFar(at);
      }
    }
  }

  /**
   * Marks the pages of what this process itself has just written, without looking first: the look could overtake our
   * own write, and then a bit cleared in between would be lost.
   */
  markOwnWrite(gpa: number, length: number): void {
    const bytes = this.bits;
    const end = Math.floor((gpa + length - 1) / 4096);
    for (let at = Math.floor(gpa / 4096); at <= end; at++) {
      const byte = at < 2 ** 31 ? at >>> 3 : FAR;
      if (byte < bytes.length) this.#or(bytes, byte, 1 << (at & 7));
      else this.#markFar(at);
    }
  }

  /** Removes the map; a mark that comes later is a failure. */
  close(): void {
    this.#closed = true;
    this.memory.unmap();
  }

  /** Pages beyond the first window, in a file that may shrink, or beyond the log. */
  #markFar(page: number): void {
    const byte = Math.floor(page / 8);
    if (this.#closed) {
      this.#fail(page, "the log is closed");
    } else if (!(byte < this.size)) {
      this.#fail(page, `the log ends with page ${hex(this.size * 8 - 1)}`);
    } else if (this.stable) {
      this.#or(this.memory.window(byte).u8, byte % WINDOW, 1 << (page % 8));
    } else {
      // SAFETY: the map is open; where its file has shrunk the kernel answers EFAULT.
      const errno = atomicOrBit(this.memory.hva + 4 * Math.floor(page / 32), page % 32);
      if (errno !== 0) this.#fail(page, "the log's file was truncated");
      else this.marked++;
    }
  }

  #or(bytes: Uint8Array, byte: number, bit: number): void {
    if ((Atomics.or(bytes, byte, bit) & bit) === 0) this.marked++;
  }

  #fail(page: number, why: string): void {
    this.failures++;
    this.#firstFailure ??= `page ${hex(page)} could not be marked dirty: ${why}`;
  }
}
