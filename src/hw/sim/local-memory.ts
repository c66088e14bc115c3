import { ptr } from "bun:ffi";

/** Private memory of the device with a known address, as the source or target of copies to and from the driver. */
export class LocalMemory {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  /** SAFETY: `u8` holds the ArrayBuffer for as long as this object lives, and engines never move one. */
  readonly hva: number;

  constructor(readonly size: number) {
    // The buffer comes first: a small typed array made on its own moves when its buffer is asked for.
    const buffer = new ArrayBuffer(size);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.hva = ptr(this.u8);
  }
}
