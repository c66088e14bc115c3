import { afterEach } from "bun:test";
import { connectGuest, type Guest, type GuestOptions } from "../../support/front-end/guest.ts";
import { Daemon, type DaemonOptions } from "./daemon.ts";

/** Daemons and guests of single tests: what a test has begun is ended after it, the last first. */
export interface ForEachTest {
  readonly start: (options?: DaemonOptions) => Promise<Daemon>;
  /** A running guest with two pairs unless told otherwise. */
  readonly guestOf: (daemon: Daemon, options?: GuestOptions) => Promise<Guest>;
  /** Has something else ended too. */
  readonly atEnd: (end: () => unknown) => void;
}

/** To be called once in a file of tests. */
export function forEachTest(): ForEachTest {
  const ends: (() => unknown)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  return {
    async start(options = {}) {
      const daemon = await Daemon.start(options);
      ends.push(() => daemon.dispose());
      return daemon;
    },
    async guestOf(daemon, options = {}) {
      const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2, ...options });
      ends.push(() => guest.close());
      return guest;
    },
    atEnd: (end) => void ends.push(end),
  };
}
