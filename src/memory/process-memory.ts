import { ptr } from "bun:ffi";
import { checked } from "../hw/ffi/errno.ts";
import { libc } from "../hw/ffi/libc.ts";
import { iovec } from "../hw/ffi/unix-socket.ts";

/**
 * Copies from an address of this process through the kernel, which answers EFAULT where a plain access would raise
 * SIGBUS because the file behind the map was truncated.
 * @returns bytes copied, fewer than asked for when the rest faults
 */
export function readOwnMemory(hva: number, into: Uint8Array): number {
  const [local, remote] = vectors(into, hva);
  // SAFETY: both vectors and the buffer are referenced until the call returns; the kernel checks `hva`.
  return checked(libc.process_vm_readv(process.pid, local, 1, remote, 1, 0), "process_vm_readv");
}

/** Copies to an address of this process likewise. */
export function writeOwnMemory(hva: number, from: Uint8Array): number {
  const [local, remote] = vectors(from, hva);
  // SAFETY: as above.
  return checked(libc.process_vm_writev(process.pid, local, 1, remote, 1, 0), "process_vm_writev");
}

// SAFETY: an address inside a struct keeps nothing alive: a collection before the call would free the buffer.
let held: Uint8Array | undefined;

const vectors = (local: Uint8Array, remoteHva: number) => {
  held = local;
  const iov_len = BigInt(local.byteLength);
  return [
    iovec.alloc({ iov_base: BigInt(ptr(held)), iov_len }),
    iovec.alloc({ iov_base: BigInt(remoteHva), iov_len }),
  ] as const;
};
