import { isErrno, SysError } from "../ffi/errno.ts";
import { OperatorError } from "../operator-error.ts";
import type { DeviceFile } from "./device-file.ts";
import { vfio_irq_info, vfio_irq_set } from "./structs.ts";
import {
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "./uapi.ts";

const NO_EVENTFD = -1;
const WATCH_INDEX = { error: VFIO_PCI_ERR_IRQ_INDEX, release: VFIO_PCI_REQ_IRQ_INDEX } as const;
export type WatchedEvent = keyof typeof WATCH_INDEX;

/** The interrupts of a device: MSI-X vectors, and the two events that the kernel itself signals. */
export class Interrupts {
  /** Vectors that the device has, 0 without MSI-X. */
  readonly msixVectors: number;
  readonly #watched = new Set<WatchedEvent>();
  #enabled = 0;

  constructor(
    private readonly name: string,
    private readonly device: DeviceFile,
  ) {
    this.msixVectors = this.#count(VFIO_PCI_MSIX_IRQ_INDEX);
  }

  /** All vectors at once: the set can not grow later (VFIO_IRQ_INFO_NORESIZE). */
  enableMsix(count: number): void {
    if (!Number.isInteger(count) || count < 1 || count > this.msixVectors) {
      throw new OperatorError(`${this.name} can not have ${count} MSI-X vectors`, {
        why: `it has ${this.msixVectors}`,
      });
    }
    this.disableMsix();
    this.#setEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 0, new Array<number>(count).fill(NO_EVENTFD));
    this.#enabled = count;
  }

  /** A refused eventfd leaves the vector without any: the kernel lets go of the old one first. */
  setVector(vector: number, eventfd: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector >= this.#enabled) {
      throw new RangeError(`MSI-X vector ${vector} of ${this.#enabled}`);
    }
    try {
      this.#setEventfds(VFIO_PCI_MSIX_IRQ_INDEX, vector, [eventfd]);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      throw new OperatorError(`${this.name}: MSI-X vector ${vector} can not signal the eventfd`, {
        why: isErrno(error, "ENOSPC") ? "no interrupt vector is left in this machine (ENOSPC)" : error.why,
        remedy: isErrno(error, "ENOSPC")
          ? "let devices use fewer vectors, in QEMU with vectors=N"
          : undefined,
        kind: "not-ready",
        cause: error,
      });
    }
  }

  disableMsix(): void {
    if (this.#enabled === 0) return;
    this.#enabled = 0;
    this.#setNone(VFIO_PCI_MSIX_IRQ_INDEX);
  }

  watch(event: WatchedEvent, eventfd: number): boolean {
    const index = WATCH_INDEX[event];
    if (this.#count(index) === 0) return false;
    this.#setEventfds(index, 0, [eventfd]);
    this.#watched.add(event);
    return true;
  }

  /** Gives back every eventfd; the reasons for what could not be done are returned. */
  close(): unknown[] {
    const failures: unknown[] = [];
    const attempt = (step: () => void) => {
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    };
    attempt(() => this.disableMsix());
    for (const event of this.#watched) {
      attempt(() => this.#setEventfds(WATCH_INDEX[event], 0, [NO_EVENTFD]));
    }
    this.#watched.clear();
    return failures;
  }

  /** Interrupts of an index; an index that the device does not have is refused with EINVAL. */
  #count(index: number): number {
    const info = vfio_irq_info.alloc({ argsz: vfio_irq_info.size, index });
    try {
      this.device.ioctl("VFIO_DEVICE_GET_IRQ_INFO", info);
    } catch (error) {
      if (isErrno(error, "EINVAL")) return 0;
      throw error;
    }
    return vfio_irq_info.read(info).count;
  }

  #setEventfds(index: number, start: number, eventfds: readonly number[]): void {
    const argsz = vfio_irq_set.size + 4 * eventfds.length;
    const request = new Uint8Array(new ArrayBuffer(argsz));
    const flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    vfio_irq_set.write(request, { argsz, flags, index, start, count: eventfds.length });
    const data = new DataView(request.buffer, vfio_irq_set.size);
    for (const [i, fd] of eventfds.entries()) data.setInt32(4 * i, fd, true);
    this.device.ioctl("VFIO_DEVICE_SET_IRQS", request);
  }

  /** Disables a whole index. */
  #setNone(index: number): void {
    const flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
    const request = vfio_irq_set.alloc({ argsz: vfio_irq_set.size, flags, index, start: 0, count: 0 });
    this.device.ioctl("VFIO_DEVICE_SET_IRQS", request);
  }
}
