import { extraOf, type MailboxLink } from "../../hw/mailbox.ts";

/** Most rings of a relay thread: twice what a device can have, as one may be replaced by another. */
export const MAX_SLOTS = 512;
const WORDS = MAX_SLOTS / 32;
export const DRAINED_BYTES = 4 * WORDS;

/** One flag per slot, raised by the relay thread when the slot's ring can be handed back to the device. */
export class DrainedFlags {
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(link: MailboxLink) {
    const { buffer, offset } = extraOf(link);
    this.#words = new Int32Array(buffer, offset, WORDS);
  }

  raise(slot: number): void {
    Atomics.or(this.#words, slot >>> 5, 1 << (slot & 31));
  }

  /** The slots whose flags were raised since the last call. */
  take(): number[] {
    const slots: number[] = [];
    for (let word = 0; word < WORDS; word++) {
      if (Atomics.load(this.#words, word) === 0) continue;
      const bits = Atomics.exchange(this.#words, word, 0);
      for (let bit = 0; bit < 32; bit++) if ((bits >>> bit) & 1) slots.push(32 * word + bit);
    }
    return slots;
  }
}
