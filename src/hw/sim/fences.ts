const own = new Int32Array(1);

/**
 * Keeps later loads after the plain load before it. The JIT moves plain typed-array loads of shared memory,
 * but not across an atomic access; the target is private, so that no shared page is written.
 */
export function acquireFence(): void {
  Atomics.load(own, 0);
}

/** Orders every earlier access before every later one, including a store before a load. */
export function fullFence(): void {
  Atomics.add(own, 0, 0);
}
