const line = new Int32Array(new SharedArrayBuffer(4));

/**
 * Keeps the loads before it from being hoisted out of loops or below what follows: a plain load of shared memory,
 * then this, is an acquire.
 */
export function acquire(): void {
  Atomics.load(line, 0);
}

/** A full barrier: everything before it is visible to the device before anything after it happens. */
export function fence(): void {
  Atomics.add(line, 0, 1);
}
