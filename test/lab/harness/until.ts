// Waiting for something to become true. The bounds are there to end a broken run, never to measure.

export const GENEROUS_SECONDS = 300;
const POLL_MILLISECONDS = 50;

export class TimedOut extends Error {}

type Maybe<T> = T | undefined | null | false;

/** Returns what `probe` returns once it is neither undefined, null nor false. */
export async function until<T>(
  what: string,
  probe: () => Maybe<T> | Promise<Maybe<T>>,
  seconds = GENEROUS_SECONDS,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > end) throw new TimedOut(`waited ${seconds} s in vain for: ${what}`);
    await Bun.sleep(POLL_MILLISECONDS);
  }
}
