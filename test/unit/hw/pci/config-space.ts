/** A configuration space under construction; offsets and bytes as in PCI 3.0 §6.1. */
export class ConfigSpace {
  readonly bytes: Uint8Array;
  #last = 0x34;

  constructor(size = 256) {
    this.bytes = new Uint8Array(size);
    this.set16(0x00, 0x1af4);
    this.set16(0x02, 0x1041);
    this.bytes[0x06] = 0x10;
  }

  set16(at: number, value: number): this {
    this.bytes[at] = value;
    this.bytes[at + 1] = value >>> 8;
    return this;
  }

  set32(at: number, value: number): this {
    return this.set16(at, value).set16(at + 2, value >>> 16);
  }

  /** Appends a capability to the list: id, next = 0, then the given bytes. */
  add(at: number, id: number, rest: readonly number[]): this {
    this.bytes[this.#last] = at;
    this.bytes.set([id, 0, ...rest], at);
    this.#last = at + 1;
    return this;
  }

  /** struct virtio_pci_cap with further bytes behind it. */
  addVirtio(
    at: number,
    cap: { type: number; bar: number; id?: number; offset: number; length: number; more?: number[] },
  ): this {
    const more = cap.more ?? [];
    this.add(at, 0x09, [16 + more.length, cap.type, cap.bar, cap.id ?? 0, 0, 0]);
    this.set32(at + 8, cap.offset).set32(at + 12, cap.length);
    this.bytes.set(more, at + 16);
    return this;
  }

  addMsix(at: number, control: number, table: number, pba: number): this {
    return this.add(at, 0x11, [])
      .set16(at + 2, control)
      .set32(at + 4, table)
      .set32(at + 8, pba);
  }
}

/** The layout that QEMU and Firecracker give a modern network device, in short. */
export const modernNet = () =>
  new ConfigSpace()
    .addVirtio(0x40, { type: 1, bar: 0, offset: 0, length: 0x38 })
    .addVirtio(0x50, { type: 3, bar: 0, offset: 0x2000, length: 1 })
    .addVirtio(0x60, { type: 4, bar: 0, offset: 0x4000, length: 0x1000 })
    .addVirtio(0x70, { type: 2, bar: 0, offset: 0x6000, length: 0x1000, more: [4, 0, 0, 0] })
    .addMsix(0x98, 0x8002, 0x8000, 0x48000);
