import { E } from "../../../../src/hw/ffi/errno.ts";
import { vfio_irq_info, vfio_irq_set } from "../../../../src/hw/vfio/structs.ts";

const MSIX = 2;
const DATA_NONE = 1;
const DATA_EVENTFD = 4;

/** The kernel's bookkeeping of a device's interrupts (drivers/vfio/pci/vfio_pci_intrs.c). */
export class FakeIrqs {
  /** Interrupts by index; an index that is missing is refused. */
  readonly counts = new Map([
    [0, 1],
    [MSIX, 4],
    [3, 1],
    [4, 1],
  ]);
  /** Eventfds of the MSI-X vectors; undefined while none are allocated. */
  vectors: number[] | undefined;
  readonly watched = new Map<number, number>();
  /** What the kernel says to an eventfd: no interrupt vector is left for it, or it is none after all. */
  readonly refused = new Map<number, keyof typeof E>();

  info(bytes: Uint8Array): number {
    const count = this.counts.get(vfio_irq_info.read(bytes).index);
    if (count === undefined) return E.EINVAL;
    vfio_irq_info.write(bytes, { count });
    return 0;
  }

  set(bytes: Uint8Array): number {
    const { argsz, flags, index, start, count } = vfio_irq_set.read(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset + vfio_irq_set.size);
    if (argsz !== bytes.length || (flags & 0x20) === 0) return E.EINVAL;
    const eventfds =
      flags & DATA_EVENTFD ? Array.from({ length: count }, (_, i) => view.getInt32(4 * i, true)) : [];
    if (index !== MSIX) {
      if (start !== 0 || count > 1) return E.EINVAL;
      this.watched.set(index, eventfds[0]!);
      return 0;
    }
    if (flags & DATA_NONE && count === 0) {
      if (!this.vectors) return E.EINVAL;
      this.vectors = undefined;
      return 0;
    }
    if (!this.vectors) {
      if (start + count > this.counts.get(MSIX)!) return E.EINVAL;
      this.vectors = new Array<number>(start + count).fill(-1);
    }
    // The set does not grow while it is allocated.
    if (start + count > this.vectors.length) return E.EINVAL;
    for (const [i, fd] of eventfds.entries()) {
      // vfio_msi_set_vector_signal lets go of the old eventfd before it looks at the new one.
      this.vectors[start + i] = -1;
      const refusal = this.refused.get(fd);
      if (refusal) return E[refusal];
      this.vectors[start + i] = fd;
    }
    return 0;
  }
}
