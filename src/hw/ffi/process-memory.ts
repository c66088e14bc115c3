import { ptr } from "bun:ffi";
import { E } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";

const pid = process.pid;
const local = new Uint8Array(new ArrayBuffer(16));
const remote = new Uint8Array(new ArrayBuffer(16));
const localWords = new Uint32Array(local.buffer);
const remoteWords = new Uint32Array(remote.buffer);

function set(iovec: Uint32Array, hva: number, length: number): void {
  iovec[0] = hva;
  iovec[1] = hva / 2 ** 32;
  iovec[2] = length;
  iovec[3] = length / 2 ** 32;
}

const outcome = (copied: number | bigint, length: number) => {
  if (copied < 0) return lastErrno();
  return Number(copied) === length ? 0 : E.EFAULT;
};

/**
 * Copies memory of this process by way of the kernel, which answers EFAULT where an access of our own would raise
 * SIGBUS (a mapped file that a peer has truncated) and end the process.
 * SAFETY: `localHva` must be memory of the caller; `hva` may be anything.
 * @returns 0, or an errno
 */
export function copyFromProcess(hva: number, localHva: number, length: number): number {
  set(localWords, localHva, length);
  set(remoteWords, hva, length);
  return outcome(libc.process_vm_readv(pid, local, 1n, remote, 1n, 0n), length);
}

/** The other direction of `copyFromProcess`. */
export function copyToProcess(hva: number, localHva: number, length: number): number {
  set(localWords, localHva, length);
  set(remoteWords, hva, length);
  return outcome(libc.process_vm_writev(pid, local, 1n, remote, 1n, 0n), length);
}

// SAFETY: an address inside a struct keeps nothing alive: a collection before the call would free the caller's bytes.
let held: Uint8Array | undefined;

/** Fills `into` from an address of this process; 0, or an errno (EFAULT also when only a part could be read). */
export function readOwnMemory(hva: number, into: Uint8Array): number {
  held = into;
  return copyFromProcess(hva, ptr(held), into.byteLength);
}

/** Copies `from` to an address of this process likewise. */
export function writeOwnMemory(hva: number, from: Uint8Array): number {
  held = from;
  return copyToProcess(hva, ptr(held), from.byteLength);
}
