import type { GuestMemory } from "../memory/guest-memory.ts";
import { recoverPacked } from "../relay/packed-recovery.ts";
import { DESC_SIZE, isAvail, isUsed } from "../relay/ring-format.ts";
import { guestRing, type RingTraits } from "./direct-position.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Completions in a row that show a device to complete in order. */
const ENOUGH = 8;

/** What a look at a ring has found: the next descriptor to be used, and the ids of those available from there on. */
interface Look {
  readonly position: number;
  readonly wrap: number;
  readonly image: DataView;
}

/**
 * Watches a packed ring whose chains take one descriptor each: whether the device uses what is available in its
 * order. The used descriptor takes the available one's place, so that one look alone can not tell.
 */
export class OrderWatch {
  #last: Look | undefined;
  #seen = 0;
  #broken = false;

  constructor(
    readonly memory: GuestMemory,
    readonly vring: VringConfig,
    readonly traits: RingTraits,
  ) {}

  /** A completion out of order was seen. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Looks again; whether enough completions have come in order, and none out of it. */
  look(): boolean {
    const image = new DataView(this.memory.read(this.vring.descGpa, DESC_SIZE * this.vring.size).buffer);
    if (this.#last) this.#compare(this.#last, image);
    const found = recoverPacked(this.memory, guestRing(this.vring, this.traits), true);
    this.#last =
      found.kind === "recovered"
        ? { position: found.position.usedPosition, wrap: found.position.usedWrap, image }
        : undefined;
    return !this.#broken && this.#last !== undefined && this.#seen >= ENOUGH;
  }

  #compare({ position, wrap, image: before }: Look, now: DataView): void {
    let at = position;
    let lap = wrap;
    for (let i = 0; i < this.vring.size; i++) {
      const flags = DESC_SIZE * at + 14;
      if (!isUsed(now.getUint16(flags, true), lap)) return;
      const id = DESC_SIZE * at + 12;
      // What was not available at the last look can not be compared.
      if (isAvail(before.getUint16(flags, true), lap)) {
        if (now.getUint16(id, true) === before.getUint16(id, true)) this.#seen++;
        else this.#broken = true;
      }
      if (++at === this.vring.size) {
        at = 0;
        lap ^= 1;
      }
    }
  }
}
