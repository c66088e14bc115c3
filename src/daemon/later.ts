type Outcome = () => unknown;

/**
 * The answer to a command that comes when its work is done. The serving thread blocks in the kernel and never gets
 * to promises, so this is called back at once.
 */
export class Later {
  #outcome: Outcome | undefined;
  #listener: ((outcome: Outcome) => void) | undefined;

  /** @param outcome returns the result, or throws; only the first one counts */
  settle(outcome: Outcome): void {
    if (this.#outcome) return;
    this.#outcome = outcome;
    this.#listener?.(outcome);
  }

  whenSettled(listener: (outcome: Outcome) => void): void {
    this.#listener = listener;
    if (this.#outcome) listener(this.#outcome);
  }
}
