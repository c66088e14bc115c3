/** Events counted while serving, readable from another thread without disturbing the one that counts. */
export const COUNTERS = [
  "connections",
  "refused_connections",
  "messages",
  "refused_messages",
  "configures",
  "resets",
  "kicks_relayed",
  "calls_relayed",
  "config_interrupts",
  "device_faults",
  "relay_forwarded",
  "relay_completed",
  "ring_faults",
] as const;

export type CounterName = (typeof COUNTERS)[number];

/** Named counters in memory that threads share. */
export class Counters {
  readonly #cells: Uint32Array;

  /** @param memory what `memory` of another thread's counters gave; new memory when absent */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(COUNTERS.length * 4)) {
    this.#cells = new Uint32Array(memory);
  }

  add(name: CounterName, n = 1): void {
    Atomics.add(this.#cells, COUNTERS.indexOf(name), n);
  }

  get(name: CounterName): number {
    return Atomics.load(this.#cells, COUNTERS.indexOf(name));
  }

  /** All counters by name. */
  snapshot(): Record<CounterName, number> {
    return Object.fromEntries(COUNTERS.map((name) => [name, this.get(name)])) as Record<CounterName, number>;
  }
}
