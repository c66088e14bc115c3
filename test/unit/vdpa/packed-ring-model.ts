import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { CollectedLog } from "../memory/collected-log.ts";
import { FakeDma } from "../memory/fake-dma.ts";

/** Where rings begin in memory, by index: 128 descriptors fit into each place. */
const gpaOf = (index: 0 | 1) => 0x1000n + 0x800n * BigInt(index);
const NEXT = 1;
const AVAIL = 0x80;
const USED = 0x8000;

interface Chain {
  readonly id: number;
  readonly length: number;
}

function newMemory(): GuestMemory {
  const memory = new GuestMemory(new FakeDma(), { log: new CollectedLog() });
  const fd = memfd("guest", 8192);
  memory.replaceAll([{ description: { gpa: 0n, size: 8192n, uva: 0n, mmapOffset: 0n }, fd }]);
  closeFd(fd);
  return memory;
}

/** A packed ring in guest memory, its driver and its device. */
export class PackedRingModel {
  readonly traits;
  readonly vring;
  /** Where the next chain is made available, and where the next used descriptor goes. */
  readonly avail = { position: 0, wrap: 1 };
  readonly used = { position: 0, wrap: 1 };
  /** What the device holds, in the driver's order. */
  readonly held: Chain[] = [];
  /** Descriptors that were made available: each has another buffer. */
  #buffers = 0;

  /** @param memory that of another ring, where both are one guest's */
  constructor(
    index: 0 | 1,
    { size = 32, inOrder = false } = {},
    readonly memory = newMemory(),
  ) {
    this.traits = { packed: true, eventIdx: false, indirect: false, inOrder };
    this.vring = {
      index,
      size,
      descGpa: gpaOf(index),
      driverGpa: 0n,
      deviceGpa: 64n,
      base: 0x8000_8000,
      kickFd: -1,
      callFd: -1,
      enabled: true,
    };
  }

  /** The driver makes a chain available, whose first descriptor it writes last. */
  offer(id: number, length = 1, beforeTheFirst = () => {}): void {
    const first = { ...this.avail };
    for (let i = 0; i < length; i++) {
      if (i > 0) this.#offerOne(this.avail, id, i < length - 1);
      this.#step(this.avail, 1);
    }
    beforeTheFirst();
    this.#offerOne(first, id, length > 1);
    this.held.push({ id, length });
  }

  #offerOne(place: { position: number; wrap: number }, id: number, hasNext: boolean): void {
    this.memory.writeU16(this.vring.descGpa + BigInt(16 * place.position), ++this.#buffers & 0xffff);
    this.#put(place, id, (place.wrap ? AVAIL : USED) | (hasNext ? NEXT : 0));
  }

  /** The device uses chains, the oldest first or the one with this id. */
  use(count = 1, id?: number): void {
    for (let i = 0; i < count; i++) {
      const at = id === undefined ? 0 : this.held.findIndex((chain) => chain.id === id);
      const [chain] = this.held.splice(at, 1);
      if (!chain) throw new Error("the device holds no such chain");
      this.#put(this.used, chain.id, this.used.wrap ? AVAIL | USED : 0);
      this.#step(this.used, chain.length);
    }
  }

  /** The device uses its oldest chains as one batch, whose first descriptor it writes last, as QEMU does. */
  useBatch(count: number, beforeTheFirst: () => void): void {
    const first = { ...this.used, id: this.held[0]?.id ?? 0 };
    const [head, ...rest] = this.held.splice(0, count);
    if (!head) return;
    this.#step(this.used, head.length);
    for (const { id, length } of rest) {
      this.#put(this.used, id, this.used.wrap ? AVAIL | USED : 0);
      this.#step(this.used, length);
    }
    beforeTheFirst();
    this.#put(first, first.id, first.wrap ? AVAIL | USED : 0);
  }

  /** With IN_ORDER: the device uses its oldest chains by one used descriptor, which names the last of them. */
  useAsOne(count: number): void {
    const chains = this.held.splice(0, count);
    const named = chains.at(-1);
    if (!named) return;
    this.#put(this.used, named.id, this.used.wrap ? AVAIL | USED : 0);
    this.#step(
      this.used,
      chains.reduce((sum, { length }) => sum + length, 0),
    );
  }

  /** The device's position as a vring base. */
  get base(): number {
    const half = this.used.position | (this.used.wrap << 15);
    return (half | (half << 16)) >>> 0;
  }

  close(): void {
    this.memory.clear();
  }

  #put({ position }: { position: number }, id: number, flags: number): void {
    const at = this.vring.descGpa + BigInt(16 * position);
    this.memory.writeU16(at + 8n, 64);
    this.memory.writeU16(at + 12n, id);
    this.memory.writeU16(at + 14n, flags);
  }

  #step(place: { position: number; wrap: number }, by: number): void {
    place.position += by;
    if (place.position < this.vring.size) return;
    place.position -= this.vring.size;
    place.wrap ^= 1;
  }
}
