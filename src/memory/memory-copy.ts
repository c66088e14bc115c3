import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import type { MappedRegion } from "./mapped-region.ts";
import { nameOf } from "./region.ts";

/**
 * The same guest memory, mapped for a second device piece by piece while the first one uses it. Pages are not copied:
 * both devices reach the same ones. A change of the memory table ends it.
 */
export class MemoryCopy {
  readonly #total: bigint;
  #done = 0n;
  #state: "open" | "lost" | "closed" = "open";

  /** @param regions the table, none of them mapped for `dma` */
  constructor(
    private readonly regions: readonly MappedRegion[],
    readonly dma: DmaSpace,
    private readonly options: {
      readonly log: Log;
      readonly onProgress?: ((doneBytes: bigint, totalBytes: bigint) => void) | undefined;
    },
  ) {
    this.#total = regions.reduce((sum, { description }) => sum + description.size, 0n);
  }

  /** The memory table has changed, and what was mapped is unmapped again. */
  get lost(): boolean {
    return this.#state === "lost";
  }

  /** Maps the next GiB at most; true when there is nothing left to map. Throws OperatorError; `cancel` has to follow. */
  step(): boolean {
    if (this.#state !== "open") throw new Error("the copy has ended");
    for (const region of this.regions) {
      const chunk = region.mapChunk(this.dma, () => this.options.onProgress?.(this.#done, this.#total));
      if (!chunk) continue;
      this.#done += chunk.size;
      break;
    }
    return this.#done === this.#total;
  }

  /** Unmaps it again, after the device was reset; harmless when it has ended. */
  cancel(): void {
    if (this.#state === "open") this.#end("closed");
  }

  /** Called before the table changes. */
  lose(): void {
    if (this.#state === "open") this.#end("lost");
  }

  /** It is the memory's own now. */
  adopted(): void {
    this.#state = "closed";
  }

  #end(state: "lost" | "closed"): void {
    this.#state = state;
    unmapAll(this.regions, this.dma, this.options.log);
  }
}

/** Takes regions from a device. What can not be undone is logged: there is nobody left to whom it could be an error. */
export function unmapAll(regions: readonly MappedRegion[], dma: DmaSpace, log: Log): void {
  for (const region of regions) {
    try {
      region.unmapDma(dma);
    } catch (error) {
      log.error(`memory region ${nameOf(region.description)}: ${messageOf(error)}`, {
        event: "memory_region_kept",
        region: nameOf(region.description),
        error: messageOf(error),
      });
    }
  }
}
