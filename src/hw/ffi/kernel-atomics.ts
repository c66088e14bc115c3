import { ptr } from "bun:ffi";
import { lastErrno, libc } from "./libc.ts";

const SYS_FUTEX = process.arch === "x64" ? 202 : 98;
const FUTEX_WAKE_OP_PRIVATE = 5 | 128;
/** `*uaddr2 op= 1 << oparg`, futex(2). */
const ADD_SHIFTED = 1 | 8;
const OR_SHIFTED = 2 | 8;

/** A futex of ours that nobody waits on: only the operation on the second address matters here. */
const nobody = new Uint32Array(new ArrayBuffer(4));
// SAFETY: `nobody` lives as long as the module and engines never move an ArrayBuffer that was there first.
const nobodyHva = ptr(nobody);

/**
 * One atomic operation on a 4-aligned u32 of this process, carried out by the kernel: a page that a truncated file no
 * longer has gives EFAULT where an access of our own would raise SIGBUS.
 * @returns 0, or an errno
 */
function wakeOp(operation: number, hva: number, shift: number): number {
  const encoded = ((operation << 28) | (shift << 12)) >>> 0;
  // SAFETY: the kernel checks `hva`; `nobodyHva` is ours.
  const result = libc.syscall(SYS_FUTEX, nobodyHva, FUTEX_WAKE_OP_PRIVATE, 0, 0, hva, encoded);
  return result < 0 ? lastErrno() : 0;
}

/** `*hva |= 1 << bit`, atomically. */
export const atomicOrBit = (hva: number, bit: number): number => wakeOp(OR_SHIFTED, hva, bit);

/** `*hva += 1 << bit`, atomically. */
export const atomicAddBit = (hva: number, bit: number): number => wakeOp(ADD_SHIFTED, hva, bit);
