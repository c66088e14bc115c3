import { MappedMemory } from "../hw/ffi/mmap.ts";
import { type GuestMap, type Located, notInMemory } from "./guest-map.ts";

/** A region of guest memory that another thread of this process is to reach as well. Plain data. */
export interface SharedRegion {
  readonly gpa: bigint;
  readonly size: bigint;
  /** The map that holds the region: host virtual address and bytes. */
  readonly hva: number;
  readonly bytes: number;
  /** Byte offset of the region in the map. */
  readonly offset: number;
  /** False when an access may raise SIGBUS because the file can be truncated. */
  readonly stable: boolean;
}

/** The table as it is now, for `SharedTable` in another thread. */
export function shareTable(memory: GuestMap): SharedRegion[] {
  return memory.regions.map(({ gpa, size }) => {
    const { memory: map, offset, stable } = memory.locate(gpa, 1);
    return { gpa, size, hva: map.hva, bytes: map.size, offset, stable };
  });
}

/**
 * Guest memory as a thread sees it that does not own it: views of its own on the maps of another thread.
 * SAFETY: the owner keeps the maps until this thread has called `drop` or `replace` and told it so.
 */
export class SharedTable implements GuestMap {
  #regions: readonly SharedRegion[] = [];
  #maps: readonly MappedMemory[] = [];

  get regions(): readonly SharedRegion[] {
    return this.#regions;
  }

  locate(gpa: bigint, length: number): Located {
    for (const [i, region] of this.#regions.entries()) {
      const at = gpa - region.gpa;
      if (at < 0n || at + BigInt(length) > region.size) continue;
      return { memory: this.#maps[i]!, offset: region.offset + Number(at), stable: region.stable };
    }
    throw notInMemory(gpa, length);
  }

  /** Empties every view of this thread and takes over another table. */
  replace(regions: readonly SharedRegion[]): void {
    for (const map of this.#maps) map.unmap();
    this.#regions = regions;
    this.#maps = regions.map(({ hva, bytes }) => MappedMemory.borrow(hva, bytes));
  }

  /** Empties every view of this thread: nothing is guest memory until `replace`. */
  drop(): void {
    this.replace([]);
  }
}
