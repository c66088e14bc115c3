import type { Kernel } from "./kernel.ts";

/** Fds that are opened one after the other and closed together, the last one first. */
export class FdStack {
  readonly #fds: number[] = [];

  constructor(private readonly kernel: Kernel) {}

  /** Takes an fd over. */
  add(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  /** Closes all; a second call does nothing. */
  close(): void {
    let failure: { error: unknown } | undefined;
    for (let fd = this.#fds.pop(); fd !== undefined; fd = this.#fds.pop()) {
      try {
        this.kernel.close(fd);
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
  }
}
