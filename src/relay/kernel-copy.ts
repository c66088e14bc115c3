import { ptr } from "bun:ffi";
import { libc } from "../hw/ffi/libc.ts";

const pid = process.pid;

/** One struct iovec at an address that never changes. */
class Iovec {
  readonly #words: Uint32Array;
  /** SAFETY: the buffer came before its view, so it does not move; it lives as long as this object. */
  readonly hva: number;

  constructor() {
    this.#words = new Uint32Array(new ArrayBuffer(16));
    this.hva = ptr(this.#words);
  }

  set(hva: number, length: number): void {
    this.#words[0] = hva;
    this.#words[1] = hva / 2 ** 32;
    this.#words[2] = length;
    this.#words[3] = length / 2 ** 32;
  }
}

const local = new Iovec();
const remote = new Iovec();

/**
 * Copies memory of this process by way of the kernel, which stops where an access of our own would raise SIGBUS
 * because the file behind the map was truncated. Does not allocate, as the relay calls it for every batch.
 * SAFETY: `toHva` must be memory of the caller's; `fromHva` may be anything.
 * @returns whether all bytes were copied
 */
export function copyIn(toHva: number, fromHva: number, length: number): boolean {
  local.set(toHva, length);
  remote.set(fromHva, length);
  return Number(libc.process_vm_readv(pid, local.hva, 1, remote.hva, 1, 0)) === length;
}

/** The other way round: `fromHva` must be the caller's, `toHva` may be anything. */
export function copyOut(toHva: number, fromHva: number, length: number): boolean {
  local.set(fromHva, length);
  remote.set(toHva, length);
  return Number(libc.process_vm_writev(pid, local.hva, 1, remote.hva, 1, 0)) === length;
}
