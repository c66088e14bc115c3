/** How long this device may take to answer before it counts as stuck, in milliseconds. */
export const DEFAULT_LIMIT_MS = 5000;

/** Polls without a pause: emulated and simulated devices answer within these. */
const EAGER_POLLS = 16;
const LONGEST_PAUSE_MS = 10;

/**
 * Polls until `done`, sleeping between polls, and gives up after `limitMs`.
 * @returns whether it was done in time; it is polled at least once, and once more when the time is up
 */
export function waitUntil(done: () => boolean, limitMs: number): boolean {
  for (let i = 0; i < EAGER_POLLS; i++) if (done()) return true;
  const end = performance.now() + limitMs;
  // Bun.sleepSync takes whole milliseconds: a fraction does not sleep at all.
  for (let pauseMs = 1; performance.now() < end; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    Bun.sleepSync(pauseMs);
    if (done()) return true;
  }
  return false;
}
