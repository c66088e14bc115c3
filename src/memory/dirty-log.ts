import { fstatSync } from "node:fs";
import { isErrno } from "../hw/ffi/errno.ts";
import { fdKind, sealSize } from "../hw/ffi/fd.ts";
import { MappedMemory } from "../hw/ffi/mmap.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { hex } from "./region.ts";

/** Guest bytes that one bit of the log stands for (VHOST_LOG_PAGE). */
export const LOG_PAGE = 4096n;

/**
 * The front-end's bitmap of dirty guest pages, mapped into this process.
 * SAFETY: the map belongs to this object until `close`.
 */
export class DirtyLog {
  private constructor(
    readonly memory: MappedMemory,
    /** Bytes of the bitmap. */
    readonly size: number,
    /** The file can not shrink any more. */
    readonly stable: boolean,
  ) {}

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

  /** Whether the bit of the page that holds this guest address lies in the log. */
  covers(gpa: bigint): boolean {
    return gpa / LOG_PAGE / 8n < BigInt(this.size);
  }

  close(): void {
    this.memory.unmap();
  }
}
