import { EPOLLIN, EventLoop } from "../../../src/hw/ffi/event-loop.ts";

/** A wait that ran out of its time. */
export class Timeout extends Error {
  override readonly name = "Timeout";
}

/** Lets everything else of this thread (timers, pipes of child processes) run once. */
export const turn = () => new Promise<void>((done) => setImmediate(done));

const STEP_MS = 5;

/** Serves `loop` in short steps until `done` says so; the event that is waited for ends a step at once. */
export async function serveUntil(loop: EventLoop, done: () => boolean, ms: number, what: string) {
  const deadline = performance.now() + ms;
  while (!done()) {
    if (performance.now() > deadline) throw new Timeout(`${what}: nothing within ${ms} ms`);
    loop.runOnce(STEP_MS);
    await turn();
  }
}

/** Waits until an fd has one of these epoll events. */
export async function ready(fd: number, ms: number, what: string, events = EPOLLIN) {
  const loop = new EventLoop();
  let seen = false;
  try {
    loop.add(fd, events, () => {
      seen = true;
    });
    await serveUntil(loop, () => seen, ms, what);
  } finally {
    loop.close();
  }
}

/** Waits until `check` returns something, looking anew every few milliseconds: for state without an event. */
export async function eventually<T>(
  check: () => T | undefined | false,
  ms: number,
  what: string,
): Promise<T> {
  const deadline = performance.now() + ms;
  for (;;) {
    const value = check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Timeout(`${what}: not within ${ms} ms`);
    await Bun.sleep(STEP_MS);
  }
}
