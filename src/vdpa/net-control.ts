import type { Log } from "../hw/log.ts";
import type { ControlQueue } from "../hw/virtio/control-queue.ts";

/**
 * What the device's own control queue was told, so that it is told anew after each reset. The guest's control queue
 * ends in the front-end and never reaches us, which is why the device is set to receive everything: the guest's
 * addresses are not known here.
 */
export class NetControl {
  readonly #enabled = new Set<number>();
  #queue: ControlQueue | undefined;
  #pairs = 1;
  #canSetPairs = false;

  constructor(readonly log: Log) {}

  /** A freshly started device: one pair is active, and the receive mode is the device's default. */
  start(queue: ControlQueue | undefined, options: { rxMode: boolean; multiqueue: boolean }): void {
    this.#queue = queue;
    this.#pairs = 1;
    this.#canSetPairs = options.multiqueue;
    this.#enabled.clear();
    if (queue && options.rxMode) queue.setRxMode({ promisc: true, allmulti: true });
  }

  stop(): void {
    this.#queue = undefined;
    this.#enabled.clear();
  }

  /** Rings that are set up and enabled. Several changes at once cost one command. */
  setEnabled(changes: Iterable<readonly [queue: number, enabled: boolean]>): void {
    for (const [queue, enabled] of changes) {
      if (enabled) this.#enabled.add(queue);
      else this.#enabled.delete(queue);
    }
    this.#applyPairs();
  }

  /** Pairs that the device serves now. */
  get pairs(): number {
    return this.#pairs;
  }

  #applyPairs(): void {
    const complete = (pair: number) => this.#enabled.has(2 * pair) && this.#enabled.has(2 * pair + 1);
    // A device spreads received frames over pairs 0 to N-1: a pair in a hole would swallow them. Pair 0 can not be
    // switched off by command, but that its doorbells are cut; so the others do not depend on it.
    let pairs = 1;
    while (complete(pairs)) pairs++;
    if (pairs === this.#pairs) return;
    if (!this.#queue || !this.#canSetPairs) return;
    this.#queue.setQueuePairs(pairs);
    this.#pairs = pairs;
    this.log.info(`${pairs} queue pair${pairs === 1 ? "" : "s"} active`, { event: "pairs_active", pairs });
  }
}
