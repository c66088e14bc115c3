/** A thread that has to be alive. */
export interface Watched {
  /** Resolves once the thread's loop has come round; never while it hangs. */
  ping(): Promise<unknown>;
  /** Grows while one long step, such as mapping a large guest's memory, gets on. */
  beats(): number;
}

interface Watch {
  beats: number;
  waiting: boolean;
  alive: boolean;
}

/** Looks per watchdog period, so that one that comes late does not end the service. */
const LOOKS_PER_PERIOD = 4;

/**
 * The time after which the service manager ends a service that says nothing (sd_watchdog_enabled(3)).
 * @returns milliseconds; undefined when it does not watch this process
 */
export function watchdogPeriodMs(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  const { WATCHDOG_USEC: period, WATCHDOG_PID: watched } = env;
  if (watched && Number(watched) !== pid) return undefined;
  return period && /^[1-9]\d{0,15}$/.test(period) ? Number(period) / 1000 : undefined;
}

/**
 * Feeds the service manager's watchdog only while every thread gets on with its work. The main thread shows that it
 * does by looking.
 */
export class Watchdog {
  readonly #watches = new Map<Watched, Watch>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * @param threads gives those that have to live now; one that has gone is waited for no longer
   * @param feed called when all threads have shown that they live, once for each time that they have
   */
  constructor(
    private readonly threads: () => readonly Watched[],
    private readonly feed: () => void,
  ) {}

  start(periodMs: number): void {
    this.look();
    // Longer delays than 2^31-1 ms would fire at once.
    this.#timer = setInterval(() => this.look(), Math.min(periodMs / LOOKS_PER_PERIOD, 3_600_000));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Asks those that answered; looks whether the others get on. */
  look(): void {
    this.#update();
    for (const [thread, watch] of this.#watches) {
      const beats = thread.beats();
      if (!watch.waiting) this.#ask(thread, watch);
      else if (beats !== watch.beats) watch.alive = true;
      watch.beats = beats;
    }
    this.#feedWhenAllLive();
  }

  /** Threads come and go as devices fail and are tried again. */
  #update(): void {
    const threads = this.threads();
    for (const thread of this.#watches.keys()) if (!threads.includes(thread)) this.#watches.delete(thread);
    for (const thread of threads) {
      if (this.#watches.has(thread)) continue;
      this.#watches.set(thread, { beats: thread.beats(), waiting: false, alive: false });
    }
  }

  #ask(thread: Watched, watch: Watch): void {
    watch.waiting = true;
    const answered = () => {
      watch.waiting = false;
      watch.alive = true;
      // The answer of one that has gone says nothing about the others.
      if (this.#watches.get(thread) === watch) this.#feedWhenAllLive();
    };
    // An error is an answer too: the loop has come round.
    thread.ping().then(answered, answered);
  }

  #feedWhenAllLive(): void {
    const watches = [...this.#watches.values()];
    if (!watches.every(({ alive }) => alive)) return;
    for (const watch of watches) watch.alive = false;
    this.feed();
  }
}
