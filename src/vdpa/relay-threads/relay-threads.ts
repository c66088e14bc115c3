import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import type { PumpedRing } from "../pump.ts";
import type { RelayParts } from "../relayed-ring.ts";
import type { RelayLink } from "./link.ts";
import { RelayThread } from "./relay-thread.ts";
import type { RemotePump } from "./remote-pump.ts";

/** The relay threads of a device. Both rings of a pair are moved by the same one: pair p by thread p mod N. */
export class RelayThreads {
  readonly #threads: readonly RelayThread[];

  /**
   * @param links at least one, each with a RelayServer at its other end, now or soon
   * @param limitMs longest wait for an answer of a thread, as in MailboxClient
   */
  constructor(links: readonly RelayLink[], loop: EventLoop, limitMs?: number) {
    this.#threads = links.map((link, number) => new RelayThread(number, link, loop, limitMs));
  }

  /** The thread of a virtqueue. */
  of(index: number): RelayThread {
    return this.#threads[(index >>> 1) % this.#threads.length]!;
  }

  createPump(pumped: PumpedRing, parts: RelayParts): RemotePump {
    return this.of(pumped.index).createPump(pumped, parts);
  }

  /** Ends all threads, whose rings must have finished. Tries each before it throws the first error. */
  close(): void {
    let failure: { error: unknown } | undefined;
    for (const thread of this.#threads) {
      try {
        thread.close();
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
  }
}
