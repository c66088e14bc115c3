const own = new Int32Array(new SharedArrayBuffer(4));

/**
 * Keeps later loads after the plain load before it. The JIT moves plain loads of shared memory out of loops, but not
 * across an atomic access; the target is private, so that no shared page is written.
 */
export function acquireFence(): void {
  Atomics.load(own, 0);
}

/** Orders every earlier access before every later one, a store before a load included. */
export function fullFence(): void {
  Atomics.add(own, 0, 0);
}

/**
 * Makes a full fence of the Atomics.store before it. On x86-64 that is an exchange, which is one already; elsewhere it
 * may be no more than a release.
 */
export function fullFenceAfterStore(): void {
  if (process.arch !== "x64") fullFence();
}
