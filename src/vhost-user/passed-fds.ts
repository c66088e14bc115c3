import { closeFd } from "../hw/ffi/fd.ts";

/** The fds that came with a message. Each is closed by `closeRest` unless somebody took it. */
export class PassedFds {
  readonly #fds: number[];

  constructor(fds: readonly number[]) {
    this.#fds = [...fds];
  }

  /** Fds not taken yet. */
  get count(): number {
    return this.#fds.length;
  }

  /** The fd at a place, still owned by this object. */
  at(index: number): number {
    return this.#fds[index] ?? -1;
  }

  /** Gives away the first fd: the caller closes it. -1 when there is none. */
  take(): number {
    return this.#fds.shift() ?? -1;
  }

  closeRest(): void {
    for (const fd of this.#fds.splice(0)) closeFd(fd);
  }
}
