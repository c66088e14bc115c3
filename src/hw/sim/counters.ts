const NAMES = [
  "kicks",
  "interrupts",
  "frames",
  "bytes",
  "frames_too_long",
  "frames_dropped",
  "control_commands",
  "resets",
  "device_faults",
  "driver_faults",
] as const;

export type CounterName = (typeof NAMES)[number];
export type SimCounts = Record<CounterName, number>;

/** Bytes of memory that `SimCounters` needs. */
export const COUNTERS_SIZE = NAMES.length * 8;

/**
 * What the device has done since it was made: `frames` and `bytes` that came back from the port, frames that no
 * receive buffer could hold, those that were on the wire at a reset, `device_faults` (it asked to be reset), `driver_faults` (accesses that a driver must
 * not make; ignored by the device). May lie in memory that other threads read.
 */
export class SimCounters {
  readonly #values: Float64Array;

  constructor(buffer: ArrayBufferLike = new ArrayBuffer(COUNTERS_SIZE), offset = 0) {
    this.#values = new Float64Array(buffer, offset, NAMES.length);
  }

  add(name: CounterName, n = 1): void {
    this.#values[NAMES.indexOf(name)]! += n;
  }

  read(): SimCounts {
    return Object.fromEntries(NAMES.map((name, i) => [name, this.#values[i]!])) as SimCounts;
  }
}
