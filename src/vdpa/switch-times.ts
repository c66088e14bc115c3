import type { Counters } from "./counters.ts";
import type { Ring, RingMode } from "./ring.ts";

/** A change between direct and relay mode of running rings. */
export interface RingSwitch {
  /** Undefined when all rings moved at once, by a reset of the whole device. */
  readonly queue: number | undefined;
  readonly to: RingMode;
  /** From the moment at which the device got nothing new until it was connected again, in µs. */
  readonly gapUs: number;
}

/** How long rings stood still when they changed between direct and relay mode. */
export class SwitchTimes {
  readonly #gaps = new Map<number, number>();
  #last: RingSwitch | undefined;

  constructor(readonly counters: Counters) {}

  get last(): RingSwitch | undefined {
    return this.#last;
  }

  /** µs of a queue's last change of mode; undefined when it has not changed since the device started. */
  gapUs(queue: number): number | undefined {
    return this.#gaps.get(queue);
  }

  /** Runs `move`, which gives these rings to the device in another way, and returns when they are connected. */
  measure(rings: readonly Ring[], after: () => readonly Ring[], move: () => void): void {
    const began = performance.now();
    // A ring whose position did not show was cut before.
    const cutAt = Math.min(began, ...rings.map((ring) => ring.cutAt ?? began));
    const before = new Map(rings.map((ring) => [ring.index, ring.mode]));
    move();
    const gapUs = Math.round((performance.now() - cutAt) * 1000);
    const moved = after().filter((ring) => before.has(ring.index));
    for (const ring of moved) {
      this.#gaps.set(ring.index, gapUs);
      if (before.get(ring.index) !== ring.mode) this.counters.queue(ring.index).add("mode_switches");
    }
    const [first] = moved;
    if (first) this.#last = { queue: moved.length === 1 ? first.index : undefined, to: first.mode, gapUs };
  }

  /** Other rings, or another life of the device. */
  clear(): void {
    this.#gaps.clear();
  }
}
