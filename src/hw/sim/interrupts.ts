import { E, SysError } from "../ffi/errno.ts";
import { signalPeerEventfd } from "../ffi/eventfd.ts";
import { closeFd, dupFd, isEventfd } from "../ffi/fd.ts";
import type { SimCounters } from "./counters.ts";

/** A duplicate of the caller's eventfd. Throws SysError EBADF or, as VFIO does, EINVAL for any other kind of fd. */
export function dupEventfd(fd: number, call: string): number {
  let own: number;
  try {
    own = dupFd(fd);
  } catch (error) {
    throw new SysError(call, (error as SysError).errno, `fd ${fd}`);
  }
  if (isEventfd(own)) return own;
  closeFd(own);
  throw new SysError(call, E.EINVAL, `fd ${fd}`, { why: "not an eventfd (EINVAL)" });
}

/** MSI-X vectors and the eventfds that stand for their messages. Owns its duplicates of the fds. */
export class Interrupts {
  #fds: number[] = [];

  constructor(
    readonly vectors: number,
    readonly counters: SimCounters,
  ) {}

  get enabled(): boolean {
    return this.#fds.length > 0;
  }

  /** Allocates vectors without a trigger. Throws SysError EINVAL beyond the table. */
  enable(count: number): void {
    if (!Number.isInteger(count) || count < 1 || count > this.vectors) {
      throw new SysError("enable MSI-X of the simulated device", E.EINVAL, undefined, {
        why: `${count} vectors of ${this.vectors} (EINVAL)`,
      });
    }
    this.disable();
    this.#fds = new Array<number>(count).fill(-1);
  }

  setVector(vector: number, eventfd: number): void {
    if (!(vector >= 0 && vector < this.#fds.length)) {
      throw new SysError("set a vector of the simulated device", E.EINVAL, undefined, {
        why: `vector ${vector} of ${this.#fds.length} allocated ones (EINVAL)`,
      });
    }
    const own = eventfd < 0 ? -1 : dupEventfd(eventfd, "set a vector of the simulated device");
    closeFd(this.#fds[vector]!);
    this.#fds[vector] = own;
  }

  disable(): void {
    for (const fd of this.#fds) closeFd(fd);
    this.#fds = [];
  }

  /** Sends the message of a vector; nothing happens for NO_VECTOR or one without a trigger. */
  signal(vector: number): void {
    const fd = this.#fds[vector];
    if (fd === undefined || fd < 0) return;
    signalPeerEventfd(fd);
    this.counters.add("interrupts");
  }
}
