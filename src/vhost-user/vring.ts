import { closeFd } from "../hw/ffi/fd.ts";

/** Front-end addresses of a ring, as SET_VRING_ADDR gives them. */
export interface VringAddresses {
  readonly descUva: bigint;
  /** Available ring (split) or driver area (packed). */
  readonly driverUva: bigint;
  /** Used ring (split) or device area (packed). */
  readonly deviceUva: bigint;
}

export type VringFd = "kick" | "call" | "err";

/**
 * What a front-end has said about one ring. Two flags are independent (vhost-user "Ring states"): *started* by its
 * kick fd, *enabled* by SET_VRING_ENABLE. Owns the three fds.
 */
export class Vring {
  /** Entries; 0 until SET_VRING_NUM. */
  num = 0;
  addresses: VringAddresses | undefined;
  /** VHOST_VRING_F_LOG is set. */
  logUsed = false;
  /** GPA for used-ring log bits; may lie outside of guest memory. */
  logGpa = 0n;
  /** Position as sent; undefined until SET_VRING_BASE, or GET_VRING_BASE of a running ring. */
  base: number | undefined;
  /** SET_VRING_KICK has come since the last stop, with or without an fd. */
  started = false;
  enabled = false;
  /** The front-end has set up anything of this ring, so it can be expected to start it. */
  announced = false;
  /** The running device processes the ring. */
  running = false;
  readonly #fds: Record<VringFd, number> = { kick: -1, call: -1, err: -1 };

  constructor(readonly index: number) {}

  get kickFd(): number {
    return this.#fds.kick;
  }

  get callFd(): number {
    return this.#fds.call;
  }

  get errFd(): number {
    return this.#fds.err;
  }

  /** Everything is there that the device needs, but for memory and features. */
  get complete(): boolean {
    return this.started && this.num > 0 && this.addresses !== undefined;
  }

  /** Takes over an fd (-1: none) and closes the one before. */
  setFd(kind: VringFd, fd: number): void {
    const old = this.#fds[kind];
    this.#fds[kind] = fd;
    closeFd(old);
  }

  /** Stopped: the next kick fd starts it again. The call and err fds stay. */
  stop(): void {
    this.started = false;
    this.running = false;
    this.setFd("kick", -1);
  }

  /** Back to how a new connection finds it, but that it stays announced and keeps its call and err fds. */
  reset(): void {
    this.stop();
    this.num = 0;
    this.addresses = undefined;
    this.logUsed = false;
    this.logGpa = 0n;
    this.base = undefined;
    this.enabled = false;
  }

  close(): void {
    for (const kind of ["kick", "call", "err"] as const) this.setFd(kind, -1);
  }
}
