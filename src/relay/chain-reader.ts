import type { ChainRecord } from "./chain-record.ts";
import type { GuestView } from "./guest-view.ts";
import { RingFault } from "./ring-fault.ts";
import { DESC_INDIRECT, DESC_NEXT, DESC_SIZE, DESC_WRITE } from "./ring-format.ts";

/** Chains that drivers make of small rings may be longer than the ring; QEMU draws its line here as well. */
const LONGEST = 1024;

/**
 * Checks the buffers of one chain after the other and notes the writable ones. Every field of the guest's is read
 * once, so that what was checked is what is used.
 */
export class ChainReader {
  /** Longest chain that is accepted, indirect tables included (virtio 1.3 §2.7.5.3.1 has the ring size). */
  readonly limit: number;
  readonly #view: GuestView;
  readonly #record: ChainRecord;
  readonly #indirect: boolean;
  #id = 0;
  #count = 0;
  #writing = false;

  constructor(view: GuestView, record: ChainRecord, size: number, indirect: boolean) {
    this.#view = view;
    this.#record = record;
    this.#indirect = indirect;
    this.limit = Math.max(size, LONGEST);
  }

  begin(id: number): void {
    this.#id = id;
    this.#count = 0;
    this.#writing = false;
    this.#record.begin(id);
  }

  /** Takes a buffer of the chain; false when there is no room to remember it. Throws RingFault. */
  buffer(low: number, high: number, length: number, flags: number): boolean {
    if (++this.#count > this.limit) throw bad(`a descriptor chain has more than ${this.limit} descriptors`);
    if (length === 0) throw bad("a descriptor has length 0");
    // Above 2^53 no address is exact, and no guest has memory.
    const gpa = high * 2 ** 32 + low;
    if (high >= 2 ** 21 || !this.#view.holds(gpa, length)) {
      throw bad(`a buffer of ${length} bytes at GPA ${hex(high, low)} is not in guest memory`);
    }
    if ((flags & DESC_WRITE) === 0) {
      // §2.7.4.2: device-readable buffers come first.
      if (this.#writing) throw bad("a device-readable descriptor follows a device-writable one");
      return true;
    }
    this.#writing = true;
    return this.#record.add(this.#id, gpa, length);
  }

  /** Takes a chain's indirect table; false when there is no room. Throws RingFault. */
  table(low: number, high: number, length: number, flags: number, packed: boolean): boolean {
    if (!this.#indirect) throw bad("an indirect descriptor, although INDIRECT_DESC was not negotiated");
    // §2.7.5.3.1
    if (flags & DESC_NEXT) throw bad("a descriptor has both INDIRECT and NEXT");
    if (length === 0 || length % DESC_SIZE !== 0) throw bad(`an indirect table has ${length} bytes`);
    const entries = length / DESC_SIZE;
    if (entries > this.limit) {
      throw bad(`an indirect table has ${entries} descriptors, more than ${this.limit}`);
    }
    if (high >= 2 ** 21) throw bad(`an indirect table at GPA ${hex(high, low)} is not in guest memory`);
    const gpa = high * 2 ** 32 + low;
    const { words } = this.#view;
    for (let at = 0; ; ) {
      if (!this.#view.readDescriptor(gpa + at * DESC_SIZE)) {
        throw bad(`an indirect table at GPA ${hex(high, low)} is not in guest memory`);
      }
      const rest = words[3]!;
      const entryFlags = packed ? rest >>> 16 : rest & 0xffff;
      if (entryFlags & DESC_INDIRECT) throw bad("an indirect descriptor inside an indirect table");
      if (!this.buffer(words[0]!, words[1]!, words[2]!, entryFlags)) return false;
      if (packed) {
        // §2.8.7: entries follow each other, NEXT means nothing.
        if (++at === entries) return true;
      } else {
        if (!(entryFlags & DESC_NEXT)) return true;
        at = rest >>> 16;
        if (at >= entries) throw bad(`descriptor ${at} follows in an indirect table of ${entries}`);
      }
    }
  }
}

const bad = (message: string) => new RingFault("guest", message);

const hex = (high: number, low: number) => `0x${((BigInt(high) << 32n) | BigInt(low)).toString(16)}`;
