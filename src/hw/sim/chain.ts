import { DeviceFault } from "./device-fault.ts";
import type { DmaPort } from "./dma-port.ts";
import type { LocalMemory } from "./local-memory.ts";
import { DESC_WRITE } from "./virtio.ts";

/** The buffers of one descriptor chain, device-readable ones first (virtio 1.3 §2.7.4.2). Reused, never grown. */
export class Chain {
  /** Head index (split) or buffer id (packed). */
  id = 0;
  /** Ring entries that the chain takes: 1 (split) or its descriptors in the ring (packed). */
  slots = 1;
  /** Buffers in all, and how many of them are device-readable. */
  count = 0;
  readable = 0;
  readBytes = 0;
  writeBytes = 0;
  readonly #iova: Float64Array;
  readonly #length: Uint32Array;

  /** @param limit the longest chain a driver may make: the queue size (§2.7.5.3.1) */
  constructor(readonly limit: number) {
    this.#iova = new Float64Array(limit);
    this.#length = new Uint32Array(limit);
  }

  begin(): void {
    this.slots = 1;
    this.count = 0;
    this.readable = 0;
    this.readBytes = 0;
    this.writeBytes = 0;
  }

  /** Appends the descriptor that the port has just read. Throws DeviceFault for what no driver may offer. */
  add(dma: DmaPort, flags: number): void {
    const length = dma.d2;
    if (this.count >= this.limit)
      throw new DeviceFault(`descriptor chain longer than the queue (${this.limit})`);
    if (length === 0) throw new DeviceFault("descriptor of length 0");
    if (dma.d1 > 0xfffff) throw new DeviceFault("descriptor address beyond 52 bits");
    this.#iova[this.count] = dma.d1 * 2 ** 32 + dma.d0;
    this.#length[this.count] = length;
    this.count++;
    if (flags & DESC_WRITE) {
      this.writeBytes += length;
    } else {
      if (this.writeBytes > 0) throw new DeviceFault("device-readable descriptor after a writable one");
      this.readable++;
      this.readBytes += length;
    }
    if (this.readBytes + this.writeBytes > 2 ** 32)
      throw new DeviceFault("descriptor chain of more than 4 GiB");
  }

  /** Copies the first `length` readable bytes; the chain must have them. */
  read(dma: DmaPort, into: LocalMemory, offset: number, length: number): void {
    for (let i = 0, done = 0; done < length; i++) {
      const part = Math.min(this.#length[i]!, length - done);
      dma.read(this.#iova[i]!, into, offset + done, part);
      done += part;
    }
  }

  /** Fills the first `length` writable bytes; the chain must have them. */
  write(dma: DmaPort, from: LocalMemory, offset: number, length: number): void {
    for (let i = this.readable, done = 0; done < length; i++) {
      const part = Math.min(this.#length[i]!, length - done);
      dma.write(this.#iova[i]!, from, offset + done, part);
      done += part;
    }
  }
}
