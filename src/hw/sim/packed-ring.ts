import type { Chain } from "./chain.ts";
import { DeviceFault } from "./device-fault.ts";
import type { DeviceRing, RingSetup } from "./device-ring.ts";
import type { DmaPort } from "./dma-port.ts";
import { fullFence } from "./fences.ts";
import { indirectEntries, refuseNested } from "./indirect-table.ts";
import {
  DESC_AVAIL,
  DESC_INDIRECT,
  DESC_NEXT,
  DESC_SIZE,
  DESC_USED,
  DESC_WRITE,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_ENABLE,
} from "./virtio.ts";

/** A packed virtqueue, virtio 1.3 §2.8. It starts at index 0 with both wrap counters 1, as after a reset. */
export class PackedRing implements DeviceRing {
  readonly size: number;
  readonly #dma: DmaPort;
  readonly #setup: RingSetup;
  #availIndex = 0;
  #availWrap = 1;
  #usedIndex = 0;
  #usedWrap = 1;
  /** Ring entries completed since the last `publish`, and whether kicks are asked for. */
  #unpublished = 0;
  #kicks = true;

  constructor(dma: DmaPort, setup: RingSetup) {
    this.#dma = dma;
    this.#setup = setup;
    this.size = setup.size;
  }

  peek(chain: Chain): boolean {
    if (!this.#available()) return false;
    const dma = this.#dma;
    const { desc, indirect } = this.#setup;
    chain.begin();
    let slots = 0;
    for (let at = this.#availIndex; ; ) {
      dma.readDescriptor(desc + at * DESC_SIZE);
      const flags = dma.d3 >>> 16;
      slots++;
      chain.id = dma.d3 & 0xffff;
      if (flags & DESC_INDIRECT) {
        if (slots > 1) throw new DeviceFault("indirect descriptor inside a chain of a packed ring");
        this.#walkTable(chain, indirectEntries(dma, flags, indirect), dma.d1 * 2 ** 32 + dma.d0);
        break;
      }
      chain.add(dma, flags);
      if (!(flags & DESC_NEXT)) break;
      if (++at === this.size) at = 0;
    }
    chain.slots = slots;
    return true;
  }

  take(chain: Chain): void {
    this.#availIndex += chain.slots;
    if (this.#availIndex >= this.size) {
      this.#availIndex -= this.size;
      this.#availWrap ^= 1;
    }
  }

  complete(id: number, slots: number, written: number): void {
    const at = this.#setup.desc + this.#usedIndex * DESC_SIZE;
    const flags = this.#usedWrap ? DESC_AVAIL | DESC_USED : 0;
    // Only WRITE of the remaining flags has a meaning here: whether `len` is one (§2.8.21).
    const wrote = written > 0 ? DESC_WRITE : 0;
    if (this.#dma.isUnstable(at)) {
      // One store of eight aligned bytes: length, id and flags arrive together.
      this.#dma.writePair(at + 8, written, (flags | wrote) * 65536 + (id & 0xffff));
    } else {
      const notYet = this.#usedWrap ? 0 : DESC_AVAIL;
      this.#dma.writePair(at + 8, written, notYet * 65536 + (id & 0xffff));
      this.#dma.releaseU16(at + 14, flags | wrote);
    }
    this.#advanceUsed(slots);
  }

  #advanceUsed(slots: number): void {
    this.#unpublished += slots;
    this.#usedIndex += slots;
    if (this.#usedIndex >= this.size) {
      this.#usedIndex -= this.size;
      this.#usedWrap ^= 1;
    }
  }

  skipUsed(): void {
    this.#advanceUsed(1);
  }

  publish(): boolean {
    const completed = this.#unpublished;
    if (completed === 0) return false;
    this.#unpublished = 0;
    fullFence();
    const { driver, eventIdx } = this.#setup;
    const flags = this.#dma.readU16(driver + 2) & 3;
    if (flags === EVENT_ENABLE) return true;
    if (flags !== EVENT_DESC || !eventIdx) return false;
    // §2.8.10: the driver wants to hear of one position; it does if that lies among what was completed just now.
    const event = this.#dma.readU16(driver);
    const behind = this.#usedIndex - (event & 0x7fff) + (event >>> 15 === this.#usedWrap ? 0 : this.size);
    return behind >= 1 && behind <= completed;
  }

  disableKicks(): void {
    if (this.#kicks) this.#dma.writeU16(this.#setup.device + 2, EVENT_DISABLE);
    this.#kicks = false;
  }

  enableKicks(): boolean {
    const { device, eventIdx } = this.#setup;
    if (eventIdx) {
      this.#dma.writeU16(device, this.#availIndex | (this.#availWrap << 15));
      this.#dma.releaseU16(device + 2, EVENT_DESC);
    } else {
      this.#dma.writeU16(device + 2, EVENT_ENABLE);
    }
    this.#kicks = true;
    fullFence();
    return this.#available();
  }

  /** §2.8.1: available when AVAIL equals the driver's wrap counter and USED does not. */
  #available(): boolean {
    const flags = this.#dma.acquireU16(this.#setup.desc + this.#availIndex * DESC_SIZE + 14);
    const avail = flags & DESC_AVAIL ? 1 : 0;
    const used = flags & DESC_USED ? 1 : 0;
    return avail === this.#availWrap && used !== this.#availWrap;
  }

  #walkTable(chain: Chain, entries: number, table: number): void {
    // §2.8.7: the entries of a table follow each other; NEXT has no meaning and the id is the ring's descriptor's.
    for (let i = 0; i < entries; i++) {
      this.#dma.readDescriptor(table + i * DESC_SIZE);
      const flags = this.#dma.d3 >>> 16;
      refuseNested(flags);
      chain.add(this.#dma, flags);
    }
  }
}
