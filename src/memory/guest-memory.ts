import { SysError } from "../hw/ffi/errno.ts";
import { readOwnMemory, writeOwnMemory } from "../hw/ffi/process-memory.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace, IovaRange } from "../hw/pci-function.ts";
import { type GuestMap, type Located, notInMemory } from "./guest-map.ts";
import { MappedRegion } from "./mapped-region.ts";
import { MemoryCopy, unmapAll } from "./memory-copy.ts";
import {
  hex,
  nameOf,
  type RegionDescription,
  type RegionFd,
  rangesMeet,
  sameDescription,
  uvaToGpaIn,
} from "./region.ts";
import { checkTable } from "./region-check.ts";
import { type ExchangeResult, exchangeRegions } from "./region-exchange.ts";
import { identify, mapRegionFile } from "./region-file.ts";

export type { RegionDescription, RegionFd } from "./region.ts";

export interface GuestMemoryOptions {
  readonly log: Log;
  /** Bytes mapped for DMA so far by the running call, and in all; called before every GiB. */
  readonly onProgress?: ((doneBytes: bigint, totalBytes: bigint) => void) | undefined;
  /** Asked before every GiB; true ends the call with an error and the table as it was before. */
  readonly shouldStop?: (() => boolean) | undefined;
}

/**
 * The guest's memory: mapped into this process and, at IOVA = GPA, for the device. Every change is atomic: after an
 * error the table is as before. Regions that stay the same keep their mapping.
 */
export class GuestMemory implements GuestMap {
  #regions: readonly MappedRegion[] = [];
  #reserved: readonly IovaRange[] = [];
  readonly #watchers = new Set<() => void>();
  #dma: DmaSpace;
  #copy: MemoryCopy | undefined;
  readonly #leavers = new Set<() => void>();

  constructor(
    dma: DmaSpace,
    readonly options: GuestMemoryOptions,
  ) {
    this.#dma = dma;
  }

  /** The device's address space. */
  get dma(): DmaSpace {
    return this.#dma;
  }

  get regions(): readonly RegionDescription[] {
    return this.#regions.map((region) => region.description);
  }

  get count(): number {
    return this.#regions.length;
  }

  /** Bytes of all regions. */
  get bytes(): bigint {
    return this.#regions.reduce((sum, { description }) => sum + description.size, 0n);
  }

  /** Highest guest address, or -1 without memory. */
  get lastGpa(): bigint {
    return this.#regions.reduce((max, { description: { gpa, size } }) => {
      const last = gpa + size - 1n;
      return last > max ? last : max;
    }, -1n);
  }

  /**
   * Calls `changed` after every change of the table, before anything else can touch guest memory; returns what ends
   * that. It must not throw.
   */
  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /**
   * Calls `leave` before regions are unmapped, for whoever uses them in another thread and must not any more once it
   * returns. `watch`'s call always follows, also when the table stays as it was. It may throw to keep the table.
   * Returns what ends that.
   */
  beforeUnmap(leave: () => void): () => void {
    this.#leavers.add(leave);
    return () => this.#leavers.delete(leave);
  }

  #setRegions(regions: readonly MappedRegion[]): void {
    this.#regions = regions;
    for (const changed of this.#watchers) changed();
  }

  /** Makes the table exactly these regions. The fds stay the caller's and may be closed afterwards. */
  replaceAll(table: readonly RegionFd[]): void {
    checkTable(
      table.map((region) => region.description),
      this.dma,
      this.#reserved,
    );
    const files = table.map(identify);
    const kept = table.map((region, i) =>
      this.#regions.find(
        (known) =>
          sameDescription(known.description, region.description) &&
          known.file.dev === files[i]!.dev &&
          known.file.ino === files[i]!.ino,
      ),
    );

    const added: MappedRegion[] = [];
    try {
      for (const [i, region] of table.entries()) {
        if (!kept[i]) added.push(new MappedRegion(region.description, files[i]!, mapRegionFile(region)));
      }
    } catch (error) {
      for (const region of added) region.close();
      throw error;
    }
    const removed = this.#regions.filter((region) => !kept.includes(region));
    const lost = this.#exchange(removed, added);
    if (lost.failure) {
      this.#setRegions(this.#regions.filter((region) => !lost.regions.includes(region)));
      throw lost.failure.error;
    }
    const fresh = added.values();
    this.#setRegions(kept.map((region) => region ?? fresh.next().value!));
  }

  /** Adds one region. The fd stays the caller's. */
  add(region: RegionFd): void {
    const { description } = region;
    checkTable([...this.regions, description], this.dma, this.#reserved);
    const added = new MappedRegion(description, identify(region), mapRegionFile(region));
    const lost = this.#exchange([], [added]);
    if (lost.failure) throw lost.failure.error;
    this.#setRegions([...this.#regions, added]);
  }

  /** The region with this GPA, UVA and size (the mmap offset is ignored, as the protocol says). */
  find({ gpa, uva, size }: RegionDescription): RegionDescription | undefined {
    return this.regions.find((known) => known.gpa === gpa && known.uva === uva && known.size === size);
  }

  /** Removes the region with this GPA, UVA and size. */
  remove(which: RegionDescription): void {
    const known = this.find(which);
    const region = this.#regions.find(({ description }) => description === known);
    if (!region) {
      throw new OperatorError(`memory region ${nameOf(which)}`, {
        why: `no region has this GPA, UVA ${hex(which.uva)} and size; there are ${this.count}`,
        kind: "protocol",
      });
    }
    const { failure } = this.#exchange([region], []);
    this.#setRegions(failure ? this.#regions : this.#regions.filter((other) => other !== region));
    if (failure) throw failure.error;
  }

  /** Removes all regions. The device must be reset before. */
  clear(): void {
    const { failure } = this.#exchange(this.#regions, []);
    this.#setRegions(failure ? this.#regions : []);
    if (failure) throw failure.error;
  }

  #exchange(removed: readonly MappedRegion[], added: readonly MappedRegion[]): ExchangeResult {
    // A table that is sent again as it is changes nothing.
    if (removed.length + added.length > 0) this.#copy?.lose();
    try {
      if (removed.length > 0) for (const leave of this.#leavers) leave();
    } catch (error) {
      for (const region of added) region.close();
      return { failure: { error }, regions: [] };
    }
    return exchangeRegions(this.#dma, removed, added, this.options);
  }

  /**
   * Begins to map the same memory for a second device, to which the guest is to move.
   * @throws OperatorError where that device can not address it
   */
  copyFor(dma: DmaSpace): MemoryCopy {
    checkTable(this.regions, dma, this.#reserved);
    this.#copy?.cancel();
    this.#copy = new MemoryCopy(this.#regions, dma, this.options);
    return this.#copy;
  }

  /** The device of a whole copy is the one from now on; the one before must be reset, and loses the memory. */
  adopt(copy: MemoryCopy): void {
    if (copy !== this.#copy || copy.lost) throw new Error("the copy is of another memory table");
    unmapAll(this.#regions, this.#dma, this.options.log);
    this.#dma = copy.dma;
    this.#copy = undefined;
    copy.adopted();
  }

  /** Keeps guest memory out of a range of device addresses, for a buffer of ours. */
  reserve(first: bigint, last: bigint): void {
    this.#reserved = [...this.#reserved, { first, last }];
  }

  /** Gives up the range that begins at `first`. */
  release(first: bigint): void {
    this.#reserved = this.#reserved.filter((range) => range.first !== first);
  }

  /** Whether a guest region or a reserved range meets these device addresses (both included). */
  overlaps(first: bigint, last: bigint): boolean {
    return this.lowestMeeting(first, last) !== undefined;
  }

  /** First address of the lowest region or reserved range that meets these addresses, if any. */
  lowestMeeting(first: bigint, last: bigint): bigint | undefined {
    const taken = [
      ...this.regions.map(({ gpa, size }) => ({ first: gpa, size })),
      ...this.#reserved.map((range) => ({ first: range.first, size: range.last - range.first + 1n })),
    ];
    let lowest: bigint | undefined;
    for (const range of taken) {
      const meets = rangesMeet(range.first, range.size, first, last - first + 1n);
      if (meets && (lowest === undefined || range.first < lowest)) lowest = range.first;
    }
    return lowest;
  }

  /**
   * Translates a front-end address; the whole range must lie in one region.
   * @param what names the range in the error
   */
  uvaToGpa(uva: bigint, length: number, what?: string): bigint {
    return uvaToGpaIn(this.regions, uva, length, what);
  }

  /** Finds a guest address in this process; the whole range must lie in one region. */
  locate(gpa: bigint, length: number): Located {
    const { region, offset } = this.#regionAt(gpa, length);
    return { memory: region.map.memory, offset: region.map.delta + offset, stable: region.map.stable };
  }

  /** Host virtual address of a guest address. SAFETY: valid until the table changes. */
  gpaToHva(gpa: bigint, length: number): number {
    const { region, offset } = this.#regionAt(gpa, length);
    return region.hva + offset;
  }

  /**
   * Copies guest memory out. Works by a system call, so that a file truncated by the front-end gives an error
   * instead of SIGBUS; for control paths.
   */
  read(gpa: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(new ArrayBuffer(length));
    if (length > 0) this.#access(gpa, length, (hva) => readOwnMemory(hva, bytes));
    return bytes;
  }

  /** Copies into guest memory, likewise. */
  write(gpa: bigint, bytes: Uint8Array): void {
    if (bytes.byteLength > 0) this.#access(gpa, bytes.byteLength, (hva) => writeOwnMemory(hva, bytes));
  }

  readU16(gpa: bigint): number {
    const bytes = this.read(gpa, 2);
    return bytes[0]! | (bytes[1]! << 8);
  }

  writeU16(gpa: bigint, value: number): void {
    this.write(gpa, new Uint8Array([value & 0xff, value >>> 8]));
  }

  #access(gpa: bigint, length: number, copy: (hva: number) => number): void {
    const errno = copy(this.gpaToHva(gpa, length));
    if (errno === 0) return;
    const cause = new SysError("process_vm copy", errno);
    throw new OperatorError(`guest memory at GPA ${hex(gpa)}`, {
      why: `${messageOf(cause)}; the front-end has truncated the file behind it`,
      kind: "protocol",
      cause,
    });
  }

  #regionAt(gpa: bigint, length: number): { region: MappedRegion; offset: number } {
    for (const region of this.#regions) {
      const { gpa: first, size } = region.description;
      if (gpa >= first && gpa + BigInt(length) <= first + size)
        return { region, offset: Number(gpa - first) };
    }
    throw notInMemory(gpa, length);
  }
}
