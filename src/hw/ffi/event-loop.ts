import { checked, E, SysError } from "./errno.ts";
import { closeFd, O_CLOEXEC } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 1 << 31;

const CTL_ADD = 1;
const CTL_DEL = 2;
const CTL_MOD = 3;
const MAX_EVENTS = 64;

// struct epoll_event is packed on x86-64 and naturally aligned elsewhere.
const EVENT_SIZE = process.arch === "x64" ? 12 : 16;
const DATA_OFFSET = process.arch === "x64" ? 4 : 8;
const DATA_WORD = DATA_OFFSET / 4;

export type Callback = (events: number) => void;

/**
 * An epoll loop for a thread that does nothing else: `run` blocks in the kernel, so no promise, timer or
 * message event of the thread is served while it runs. All callbacks are synchronous.
 */
export class EventLoop {
  readonly #epfd = checked(libc.epoll_create1(O_CLOEXEC), "epoll_create1");
  /** By fd: these are small numbers, and a look-up in a map takes longer after each sleep. */
  readonly #callbacks: ({ token: number; callback: Callback } | undefined)[] = [];
  readonly #events = new Uint8Array(new ArrayBuffer(EVENT_SIZE * MAX_EVENTS));
  readonly #words = new Int32Array(this.#events.buffer);
  #nextToken = 1;
  #running = false;
  /** Called after each batch of events, before the next wait. */
  afterBatch: (() => void) | undefined;

  /** Watches an fd, which stays the caller's. `EPOLLET` with no read is allowed, for eventfds that others own. */
  add(fd: number, events: number, callback: Callback): void {
    const token = this.#nextToken++;
    this.#control(CTL_ADD, fd, events, token);
    this.#callbacks[fd] = { token, callback };
  }

  /** Changes the events of a watched fd. */
  modify(fd: number, events: number): void {
    this.#control(CTL_MOD, fd, events, this.#callbacks[fd]!.token);
  }

  /** Stops watching an fd; call it before closing the fd. Unknown fds are ignored. */
  remove(fd: number): void {
    if (!this.#callbacks[fd]) return;
    this.#callbacks[fd] = undefined;
    this.#control(CTL_DEL, fd, 0, 0);
  }

  /** Serves events until `stop`. */
  run(): void {
    this.#running = true;
    while (this.#running) this.runOnce(-1);
  }

  stop(): void {
    this.#running = false;
  }

  /**
   * Waits up to `timeoutMs` (-1: for ever) for events and serves them; returns how many there were. No callback may
   * call it.
   */
  runOnce(timeoutMs: number): number {
    const n = libc.epoll_wait(this.#epfd, this.#events, MAX_EVENTS, timeoutMs);
    if (n < 0) {
      const errno = lastErrno();
      if (errno === E.EINTR) return 0;
      throw new SysError("epoll_wait", errno);
    }
    const words = this.#words;
    for (let i = 0; i < n; i++) {
      const at = (i * EVENT_SIZE) >> 2;
      this.#serve(words[at + DATA_WORD]!, words[at + DATA_WORD + 1]!, words[at]!);
    }
    this.afterBatch?.();
    return n;
  }

  /** A callback may have removed a later fd of its batch or reused its number: the token tells. */
  #serve(fd: number, token: number, events: number): void {
    const entry = this.#callbacks[fd];
    if (entry?.token === token) entry.callback(events >>> 0);
  }

  close(): void {
    this.#callbacks.length = 0;
    closeFd(this.#epfd);
  }

  #control(op: number, fd: number, events: number, token: number): void {
    const event = new DataView(new ArrayBuffer(16));
    event.setUint32(0, events >>> 0, true);
    event.setInt32(DATA_OFFSET, fd, true);
    event.setUint32(DATA_OFFSET + 4, token, true);
    checked(libc.epoll_ctl(this.#epfd, op, fd, new Uint8Array(event.buffer)), "epoll_ctl");
  }
}
