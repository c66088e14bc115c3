import type { Chain } from "./chain.ts";
import { DeviceFault } from "./device-fault.ts";
import type { DeviceRing, RingSetup } from "./device-ring.ts";
import type { DmaPort } from "./dma-port.ts";
import { fullFence } from "./fences.ts";
import { indirectEntries, refuseNested } from "./indirect-table.ts";
import { DESC_INDIRECT, DESC_NEXT, DESC_SIZE } from "./virtio.ts";

const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;

/** A split virtqueue, virtio 1.3 §2.7. It starts at index 0, as after a reset. */
export class SplitRing implements DeviceRing {
  readonly size: number;
  readonly #dma: DmaPort;
  readonly #setup: RingSetup;
  readonly #outstanding: Uint8Array;
  /** Next entry of the available ring to take, and where the driver's index was seen. */
  #availIndex = 0;
  #availSeen = 0;
  #usedIndex = 0;
  #usedPublished = 0;
  #firstUsedId = 0;
  #kicks = true;

  constructor(dma: DmaPort, setup: RingSetup) {
    this.#dma = dma;
    this.#setup = setup;
    this.size = setup.size;
    this.#outstanding = new Uint8Array(setup.size);
  }

  peek(chain: Chain): boolean {
    if (this.#availIndex === this.#availSeen && !this.#more()) return false;
    const head = this.#dma.readU16(this.#setup.driver + 4 + 2 * (this.#availIndex & (this.size - 1)));
    if (head >= this.size) throw new DeviceFault(`available head ${head} in a ring of ${this.size}`);
    if (this.#outstanding[head])
      throw new DeviceFault(`head ${head} made available again before it was used`);
    chain.begin();
    chain.id = head;
    this.#walk(chain, head);
    return true;
  }

  take(chain: Chain): void {
    this.#outstanding[chain.id] = 1;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  complete(id: number, _slots: number, written: number): void {
    const slot = this.#usedIndex & (this.size - 1);
    if (slot === 0) this.#firstUsedId = id;
    this.#dma.writePair(this.#setup.device + 4 + 8 * slot, id, written);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    if (id < this.size) this.#outstanding[id] = 0;
  }

  skipUsed(): void {
    this.#usedIndex = (this.#usedIndex + this.size) & 0xffff;
  }

  publish(): boolean {
    const old = this.#usedPublished;
    const now = this.#usedIndex;
    if (old === now) return false;
    this.#usedPublished = now;
    this.#publishIndex(now);
    fullFence();
    const { driver, eventIdx } = this.#setup;
    // §2.7.7.2: with event idx the flags mean nothing.
    if (!eventIdx) return (this.#dma.readU16(driver) & NO_INTERRUPT) === 0;
    const usedEvent = this.#dma.readU16(driver + 4 + 2 * this.size);
    return ((now - usedEvent - 1) & 0xffff) < ((now - old) & 0xffff);
  }

  disableKicks(): void {
    // With event idx the index stays behind, which has the same effect once it was passed.
    if (this.#kicks && !this.#setup.eventIdx) this.#dma.writeU16(this.#setup.device, NO_NOTIFY);
    this.#kicks = false;
  }

  enableKicks(): boolean {
    const { device, eventIdx } = this.#setup;
    if (eventIdx) this.#dma.writeU16(device + 4 + 8 * this.size, this.#availIndex);
    else this.#dma.writeU16(device, 0);
    this.#kicks = true;
    fullFence();
    return this.#availIndex !== this.#availSeen || this.#more();
  }

  #more(): boolean {
    const seen = this.#dma.acquireU16(this.#setup.driver + 2);
    const added = (seen - this.#availIndex) & 0xffff;
    if (added > this.size) {
      throw new DeviceFault(
        `available index ${seen} is ${added} ahead of the device in a ring of ${this.size}`,
      );
    }
    this.#availSeen = seen;
    return added > 0;
  }

  #walk(chain: Chain, head: number): void {
    const dma = this.#dma;
    let table = this.#setup.desc;
    let entries = this.size;
    let indirect = false;
    for (let at = head; ; ) {
      dma.readDescriptor(table + at * DESC_SIZE);
      const flags = dma.d3 & 0xffff;
      if (flags & DESC_INDIRECT) {
        if (indirect) refuseNested(flags);
        entries = indirectEntries(dma, flags, this.#setup.indirect);
        table = dma.d1 * 2 ** 32 + dma.d0;
        indirect = true;
        at = 0;
        continue;
      }
      chain.add(dma, flags);
      if (!(flags & DESC_NEXT)) return;
      at = dma.d3 >>> 16;
      if (at >= entries) throw new DeviceFault(`next descriptor ${at} in a table of ${entries}`);
    }
  }

  /**
   * In unstable memory two bytes might be copied one by one, and a driver that polls would see an index that never
   * was: eight aligned bytes are not, and all of these (flags, idx, ring[0].id) are the device's.
   */
  #publishIndex(index: number): void {
    const { device, eventIdx } = this.#setup;
    if (device % 8 === 0 && this.#dma.isUnstable(device)) {
      const flags = eventIdx || this.#kicks ? 0 : NO_NOTIFY;
      this.#dma.writePair(device, (index * 65536 + flags) >>> 0, this.#firstUsedId);
    } else {
      this.#dma.releaseU16(device + 2, index);
    }
  }
}
