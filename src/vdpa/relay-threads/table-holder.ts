import type { GuestMemory } from "../../memory/guest-memory.ts";
import { shareTable } from "../../memory/shared-table.ts";
import type { RelayThread } from "./relay-thread.ts";

interface Held {
  readonly number: number;
  rings: number;
  readonly unwatch: readonly (() => void)[];
}

/**
 * Keeps a relay thread's view of guest memory what it is here, as long as the thread has rings in it: the thread lets
 * go of it before anything is unmapped, and stands still until it is given the new table.
 */
export class TableHolder {
  readonly #held = new Map<GuestMemory, Held>();
  #lastNumber = 0;

  constructor(private readonly thread: Pick<RelayThread, "call" | "life">) {}

  /** One more ring in this memory; the number of its table in the thread. */
  use(memory: GuestMemory): number {
    let held = this.#held.get(memory);
    if (!held) {
      const number = ++this.#lastNumber;
      this.#give(number, memory);
      const unwatch = [
        memory.beforeUnmap(() => this.#leave(number)),
        // A lost thread ends the service; whoever changes the table can do nothing about it.
        memory.watch(() => this.#unlessLost(() => this.#give(number, memory))),
      ];
      held = { number, rings: 0, unwatch };
      this.#held.set(memory, held);
    }
    held.rings++;
    return held.number;
  }

  /** One ring less. */
  release(memory: GuestMemory): void {
    const held = this.#held.get(memory);
    if (!held || --held.rings > 0) return;
    // A thread that hangs may still use the memory, which then stays.
    if (this.thread.life === "hangs") return;
    for (const unwatch of held.unwatch) unwatch();
    this.#held.delete(memory);
    this.#unlessLost(() => this.thread.call("forget", { numbers: [held.number] }));
  }

  /** Throws where the thread may go on using the memory. */
  #leave(number: number): void {
    if (this.thread.life !== "dead") this.thread.call("leave", { numbers: [number] });
  }

  #give(number: number, memory: GuestMemory): void {
    this.thread.call("table", { numbers: [number], data: shareTable(memory) });
  }

  #unlessLost(step: () => void): void {
    if (this.thread.life === "runs") step();
  }
}
