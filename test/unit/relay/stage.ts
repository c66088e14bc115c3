import { DmaBuffer } from "../../../src/hw/dma-buffer.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { cString, libc } from "../../../src/hw/ffi/libc.ts";
import type { DmaSpace } from "../../../src/hw/pci-function.ts";
import { DmaPort } from "../../../src/hw/sim/dma-port.ts";
import { IovaMap } from "../../../src/hw/sim/iova-map.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

export const PAGE = 4096;
export const FIRST_GPA = 0x10_0000;
const LAST = (1n << 48n) - 1n;

/** A memfd of `size` bytes; `sealable` ones end up sealed, the others as memory that may be truncated. */
export function guestFile(size: number, sealable: boolean): number {
  if (sealable) return memfd("guest", size);
  const fd = libc.memfd_create(cString("guest"), 1);
  if (fd < 0 || libc.ftruncate(fd, size) !== 0) throw new Error("memfd");
  return fd;
}

/** Guest memory in two adjacent regions, an IOMMU, a dirty log, and a shadow of what the driver alone has written. */
export class Stage {
  readonly iova = new IovaMap([{ first: 0n, last: LAST }]);
  readonly dma: DmaSpace = {
    pageSize: PAGE,
    usable: this.iova.usable,
    map: (iova, memory) => this.iova.map(iova, memory),
    unmap: (iova, size) => this.iova.unmap(iova, size),
  };
  readonly port = new DmaPort(this.iova);
  readonly memory: GuestMemory;
  readonly shadow: Uint8Array;
  readonly fds: number[] = [];
  log: DirtyLog;
  readonly #buffers: DmaBuffer[] = [];
  readonly #logFd: number;
  readonly #split: number;
  readonly #u8: [Uint8Array, Uint8Array];

  /** @param pages guest pages, the last `pages >> 2` of them in a second region */
  constructor(
    readonly pages: number,
    sealable = true,
  ) {
    this.memory = new GuestMemory(this.dma, { log: new CollectedLog() });
    this.#split = (pages - (pages >> 2)) * PAGE;
    const size = pages * PAGE;
    for (const [offset, bytes] of [
      [0, this.#split],
      [this.#split, size - this.#split],
    ] as const) {
      const fd = guestFile(bytes, sealable);
      this.fds.push(fd);
      const gpa = BigInt(FIRST_GPA + offset);
      this.memory.add({ description: { gpa, size: BigInt(bytes), uva: gpa, mmapOffset: 0n }, fd });
    }
    this.shadow = new Uint8Array(size);
    const view = (offset: number) => {
      const { memory, offset: at } = this.memory.locate(BigInt(FIRST_GPA + offset), 1);
      return memory.window(at).u8;
    };
    this.#u8 = [view(0), view(this.#split)];
    const logSize = Math.ceil((FIRST_GPA / PAGE + pages) / 8);
    this.#logFd = memfd("log", PAGE * Math.ceil(logSize / PAGE));
    this.log = DirtyLog.map(this.#logFd, BigInt(logSize), 0n);
  }

  buffer(size: number): DmaBuffer {
    const iova = (1n << 40n) + BigInt(this.#buffers.length) * (1n << 30n);
    const buffer = DmaBuffer.create(this.dma, iova, PAGE * Math.ceil(size / PAGE), "relay");
    this.#buffers.push(buffer);
    return buffer;
  }

  byte(gpa: number): number {
    const at = gpa - FIRST_GPA;
    return at < this.#split ? this.#u8[0][at]! : this.#u8[1][at - this.#split]!;
  }

  get(gpa: number, bytes: 2 | 4): number {
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) value = value * 256 + this.byte(gpa + i);
    return value;
  }

  /** A write of the driver's. */
  put(gpa: number, bytes: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < bytes; i++) {
      const byte = Math.floor(value / 2 ** (8 * i)) & 0xff;
      const at = gpa + i - FIRST_GPA;
      this.shadow[at] = byte;
      if (at < this.#split) this.#u8[0][at] = byte;
      else this.#u8[1][at - this.#split] = byte;
    }
  }

  /** From now on only what differs from memory as it is counts as written by the device's side. */
  snapshot(): void {
    for (let i = 0; i < this.shadow.length; i++) this.shadow[i] = this.byte(FIRST_GPA + i);
    this.log.memory.window(0).u8.fill(0);
  }

  /** Page numbers (GPA / 4096) that the device's side has changed. */
  changedPages(): number[] {
    const changed: number[] = [];
    for (let page = 0; page < this.pages; page++) {
      for (let i = page * PAGE; i < (page + 1) * PAGE; i++) {
        if (this.shadow[i] !== this.byte(FIRST_GPA + i)) {
          changed.push(FIRST_GPA / PAGE + page);
          break;
        }
      }
    }
    return changed;
  }

  isLogged(page: number): boolean {
    return ((this.log.memory.window(0).u8[page >> 3]! >> (page & 7)) & 1) === 1;
  }

  loggedPages(): number[] {
    return Array.from({ length: FIRST_GPA / PAGE + this.pages }, (_, page) => page).filter((p) =>
      this.isLogged(p),
    );
  }

  close(): void {
    for (const buffer of this.#buffers) buffer.close();
    this.memory.clear();
    this.log.close();
    for (const fd of [...this.fds, this.#logFd]) closeFd(fd);
  }
}
