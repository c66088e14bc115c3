import { Chain } from "./chain.ts";
import type { DeviceRing } from "./device-ring.ts";
import type { Random } from "./random.ts";
import type { SimFaults } from "./sim-options.ts";

/** How many chains a shuffling device holds at a time. */
const WINDOW = 16;

/**
 * Between taking a chain and completing it. In order: a chain is completed as soon as it is done, and the next
 * receive buffer is the ring's next. Shuffled: up to 16 chains are held and any of them may be next.
 */
export class InFlight {
  readonly #ring: DeviceRing;
  readonly #random: Random | undefined;
  readonly #faults: SimFaults;
  readonly #free: Chain[] = [];
  readonly #held: Chain[] = [];
  #current: Chain;

  constructor(ring: DeviceRing, random: Random | undefined, faults: SimFaults) {
    this.#ring = ring;
    this.#random = random;
    this.#faults = faults;
    this.#current = new Chain(ring.size);
    if (random) this.#free = Array.from({ length: WINDOW }, () => new Chain(ring.size));
  }

  /** The next chain in the ring's order, not yet taken. */
  peek(): Chain | undefined {
    return this.#ring.peek(this.#current) ? this.#current : undefined;
  }

  /** Takes the chain of `peek`, whose readable part has been dealt with, and completes it now or later. */
  finish(chain: Chain, written: number): void {
    this.#ring.take(chain);
    if (!this.#random) {
      this.#complete(chain, written);
      return;
    }
    if (this.#free.length === 0) this.#completeAny();
    // Nothing was or will be written to it: id and slots are all that is needed of it.
    const held = this.#free.pop()!;
    held.id = chain.id;
    held.slots = chain.slots;
    held.writeBytes = written;
    this.#held.push(held);
  }

  /** Takes the chain of `peek` and never completes it. */
  swallow(chain: Chain): void {
    this.#ring.take(chain);
  }

  /** Completes all that `finish` still holds. */
  flush(): void {
    while (this.#held.length > 0) this.#completeAny();
  }

  /** A chain to fill; the same or another one until `fill`. */
  nextBuffer(): Chain | undefined {
    if (!this.#random) return this.peek();
    while (this.#free.length > 0) {
      const chain = this.#free[this.#free.length - 1]!;
      if (!this.#ring.peek(chain)) break;
      this.#ring.take(chain);
      this.#held.push(this.#free.pop()!);
    }
    if (this.#held.length === 0) return undefined;
    this.#swapLast(this.#random.below(this.#held.length));
    return this.#held[this.#held.length - 1]!;
  }

  /** Completes the chain of `nextBuffer` after `written` bytes went into it. */
  fill(chain: Chain, written: number): void {
    if (this.#random) this.#free.push(this.#held.pop()!);
    else this.#ring.take(chain);
    this.#complete(chain, written);
  }

  #completeAny(): void {
    this.#swapLast(this.#random!.below(this.#held.length));
    const chain = this.#held.pop()!;
    this.#free.push(chain);
    this.#complete(chain, chain.writeBytes);
  }

  #complete(chain: Chain, written: number): void {
    const id = this.#faults.wrongUsedId ? this.#ring.size + 5 : chain.id;
    const length = this.#faults.usedLenTooLong ? chain.readBytes + chain.writeBytes + 1 : written;
    if (this.#faults.usedJumps) this.#ring.skipUsed();
    this.#ring.complete(id, chain.slots, length);
    if (this.#faults.usedTwice) this.#ring.complete(id, chain.slots, length);
  }

  #swapLast(i: number): void {
    const last = this.#held.length - 1;
    const chain = this.#held[i]!;
    this.#held[i] = this.#held[last]!;
    this.#held[last] = chain;
  }
}
