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

/** Where no word of the first window is, for pages that need more than 31 bits. */
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
   * The bitmap as far as whole words of it lie in the first window, for loops that can not afford a call per page;
   * empty where the file may shrink. Only for a bit inside of it, by a test and Atomics.or as `markPages` does: bit
   * `page % 32` of word `page / 32`, which on little-endian machines is the same bit as counted by bytes. Never by
   * bytes: the JIT encodes an 8-bit Atomics.or whose result is not used without REX prefix (Bun 1.4.5, x86-64), so
   * that of four registers the bits of another one are set.
   */
  readonly words: Int32Array;

  private constructor(
    readonly memory: MappedMemory,
    /** Bytes of the bitmap. */
    readonly size: number,
    /** The file can not shrink any more. */
    readonly stable: boolean,
  ) {
    const { u8 } = memory.window(0);
    this.words = stable
      ? new Int32Array(u8.buffer, 0, Math.min(size, u8.byteLength) >>> 2)
      : new Int32Array(0);
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
    const { words } = this;
    const end = page + count;
    for (let at = page; at < end; at++) {
      const word = at < 2 ** 31 ? at >>> 5 : FAR;
      if (word < words.length) {
        const bit = 1 << (at & 31);
        if ((words[word]! & bit) === 0) this.#or(word, bit);
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
    const { words } = this;
    const end = Math.floor((gpa + length - 1) / 4096);
    for (let at = Math.floor(gpa / 4096); at <= end; at++) {
      const word = at < 2 ** 31 ? at >>> 5 : FAR;
      if (word < words.length) this.#or(word, 1 << (at & 31));
      else this.#markFar(at);
    }
  }

  /** Removes the map; a mark that comes later is a failure. */
  close(): void {
    this.#closed = true;
    this.memory.unmap();
  }

  /** Pages beyond the first window or in its last bytes, in a file that may shrink, or beyond the log. */
  #markFar(page: number): void {
    const byte = Math.floor(page / 8);
    if (this.#closed) {
      this.#fail(page, "the log is closed");
    } else if (!(byte < this.size)) {
      this.#fail(page, `the log ends with page ${hex(this.size * 8 - 1)}`);
    } else {
      // SAFETY: the map is open; where its file has shrunk the kernel answers EFAULT.
      const errno = atomicOrBit(this.memory.hva + 4 * Math.floor(page / 32), page % 32);
      if (errno !== 0) this.#fail(page, "the log's file was truncated");
      else this.marked++;
    }
  }

  #or(word: number, bit: number): void {
    if ((Atomics.or(this.words, word, bit) & bit) === 0) this.marked++;
  }

  #fail(page: number, why: string): void {
    this.failures++;
    this.#firstFailure ??= `page ${hex(page)} could not be marked dirty: ${why}`;
  }
}
