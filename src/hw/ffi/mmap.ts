import { type Pointer, toArrayBuffer } from "bun:ffi";
import { checked } from "./errno.ts";
import { libc } from "./libc.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_NORESERVE = 0x4000;
const WINDOW = 2 ** 31;

/** Typed views of one window of a map. `offset` is the window's first byte in the map. */
export interface Window {
  readonly offset: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
}

/**
 * A shared read-write map of a file. Windows of at most 2 GiB give access, as an ArrayBuffer is limited to 4 GiB.
 * SAFETY: the map belongs to this object until `unmap`, which first empties every view handed out, so that a
 * forgotten view reads as empty instead of reaching whatever is mapped there next.
 */
export class MappedMemory {
  readonly #windows: (Window | undefined)[] = [];
  #mapped = true;

  private constructor(
    /** Host virtual address of the first byte. */
    readonly hva: number,
    /** Bytes. */
    readonly size: number,
    private readonly borrowed = false,
  ) {}

  /** Maps `size` bytes of `fd` from `offset` (a multiple of the file's page size). The fd stays the caller's. */
  static map(fd: number, size: number, offset = 0, what = "memory"): MappedMemory {
    const flags = MAP_SHARED | MAP_NORESERVE;
    const hva = checked(libc.mmap(0, size, PROT_READ | PROT_WRITE, flags, fd, offset), "mmap", what);
    return new MappedMemory(hva, size);
  }

  /**
   * Views of a map of another thread's; `unmap` empties them and leaves the map alone.
   * SAFETY: the owner keeps the map until this thread has called `unmap`.
   */
  static borrow(hva: number, size: number): MappedMemory {
    return new MappedMemory(hva, size, true);
  }

  /** The window that holds the byte at `offset`. */
  window(offset: number): Window {
    if (!this.#mapped) throw new Error("use of an unmapped memory");
    const index = Math.floor(offset / WINDOW);
    const known = this.#windows[index];
    if (known) return known;
    const start = index * WINDOW;
    const length = Math.min(WINDOW, this.size - start);
    if (length <= 0 || offset < 0)
      throw new RangeError(`offset ${offset} outside of a map of ${this.size} bytes`);
    const buffer = toArrayBuffer((this.hva + start) as Pointer, 0, length);
    const window: Window = {
      offset: start,
      u8: new Uint8Array(buffer),
      u16: new Uint16Array(buffer, 0, length >>> 1),
      u32: new Uint32Array(buffer, 0, length >>> 2),
    };
    this.#windows[index] = window;
    return window;
  }

  /** Removes the map; all views of it become empty. A second call does nothing. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    for (const window of this.#windows) (window?.u8.buffer as ArrayBuffer | undefined)?.transfer(0);
    if (!this.borrowed) checked(libc.munmap(this.hva, this.size), "munmap");
  }
}
