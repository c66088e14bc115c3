import { isErrno } from "../ffi/errno.ts";
import type { Log } from "../log.ts";
import { messageOf, OperatorError } from "../operator-error.ts";
import {
  CONFIG_REGION,
  type Doorbell,
  type MappablePage,
  type PciFunction,
  type RegisterWidth,
} from "../pci-function.ts";
import type { DeviceFile } from "./device-file.ts";
import { VfioDmaSpace } from "./dma-space.ts";
import { Doorbells } from "./doorbells.ts";
import { Interrupts, type WatchedEvent } from "./interrupts.ts";
import type { Iommu } from "./iommu.ts";
import { msixTables } from "./msix-tables.ts";
import { Regions } from "./regions.ts";
import { vfio_device_info } from "./structs.ts";
import { VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET } from "./uapi.ts";

const PCI_COMMAND = 0x04;
const PCI_COMMAND_IO = 1;
const PCI_COMMAND_MEMORY = 2;
const PCI_COMMAND_MASTER = 4;
const BARS = [0, 1, 2, 3, 4, 5];

/** What opening a device yields, whichever way it was opened. Whoever gets it closes the fds. */
export interface OpenDevice {
  readonly device: DeviceFile;
  readonly iommu: Iommu;
  /** Fd of the IOMMU group; undefined where the device has a character device of its own. */
  readonly group: number | undefined;
  /** Closes the device's and all other fds, in the order the kernel wants it. */
  closeFds(): void;
}

/** A PCI function driven through VFIO. */
export class VfioFunction implements PciFunction {
  readonly dma: VfioDmaSpace;
  readonly #regions: Regions;
  readonly #interrupts: Interrupts;
  readonly #doorbells: Doorbells;
  readonly #canReset: boolean;
  #closed = false;

  /** Switches the device's memory, ports and bus mastering on. The fds are this object's only once it is made. */
  constructor(
    readonly name: string,
    private readonly open: OpenDevice,
    private readonly log: Log,
  ) {
    const { device, iommu } = open;
    const info = vfio_device_info.alloc({ argsz: vfio_device_info.size });
    device.ioctl("VFIO_DEVICE_GET_INFO", info);
    const { flags } = vfio_device_info.read(info);
    if (!(flags & VFIO_DEVICE_FLAGS_PCI)) throw new OperatorError(`${name} is no PCI device to VFIO`);
    this.#canReset = (flags & VFIO_DEVICE_FLAGS_RESET) !== 0;
    this.#regions = new Regions(device);
    this.#interrupts = new Interrupts(name, device);
    this.#doorbells = new Doorbells(device, this.#regions, msixTables(this.#regions));
    this.dma = new VfioDmaSpace(name, device.kernel, iommu);
    this.#enable();
  }

  regionSize(region: number): number {
    return this.#regions.size(region);
  }

  isIoPort(region: number): boolean {
    return this.#regions.isIoPort(region);
  }

  read(region: number, offset: number, width: RegisterWidth): number {
    return this.#regions.read(region, offset, width);
  }

  write(region: number, offset: number, width: RegisterWidth, value: number): void {
    this.#regions.write(region, offset, width, value);
  }

  get msixVectors(): number {
    return this.#interrupts.msixVectors;
  }

  enableMsix(count: number): void {
    this.#interrupts.enableMsix(count);
  }

  setVector(vector: number, eventfd: number): void {
    this.#interrupts.setVector(vector, eventfd);
  }

  disableMsix(): void {
    this.#interrupts.disableMsix();
  }

  watch(event: WatchedEvent, eventfd: number): boolean {
    return this.#interrupts.watch(event, eventfd);
  }

  bindDoorbell(doorbell: Doorbell, eventfd: number): void {
    this.#doorbells.bind(doorbell, eventfd);
  }

  unbindDoorbell(doorbell: Doorbell): void {
    this.#doorbells.unbind(doorbell);
  }

  doorbellPage(doorbell: Doorbell): MappablePage | undefined {
    return this.#doorbells.page(doorbell);
  }

  reset(): void {
    if (!this.#canReset) {
      throw new OperatorError(`${this.name} can not be reset`, {
        why: "it has no function level reset and shares its bus with other devices",
      });
    }
    // The vectors' registers are lost in the reset, so the kernel's side goes first.
    this.#interrupts.disableMsix();
    this.open.device.ioctl("VFIO_DEVICE_RESET");
    this.#enable();
  }

  get vfioFds(): { device: number; group: number | undefined } {
    return { device: this.open.device.fd, group: this.open.group };
  }

  /** Every step is taken even when one before it fails, as when the device is gone; the log tells. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const report = (error: unknown) =>
      this.log.warn(`closing ${this.name}: ${messageOf(error)}`, {
        event: "cleanup_failed",
        device: this.name,
        error: messageOf(error),
      });
    const attempt = (step: () => void) => {
      try {
        step();
      } catch (error) {
        report(error);
      }
    };
    for (const failure of [...this.#interrupts.close(), ...this.#doorbells.close()]) report(failure);
    // The device must be quiet before its mappings go: what it wrote then would be lost or would fault.
    attempt(() => this.#silence());
    for (const failure of this.dma.unmapAll()) report(failure);
    attempt(() => this.open.closeFds());
  }

  /** Ends the device's DMA: by a reset, else by taking bus mastering from it. */
  #silence(): void {
    let failure: unknown;
    if (this.#canReset) {
      try {
        this.open.device.ioctl("VFIO_DEVICE_RESET");
        return;
      } catch (error) {
        failure = error;
      }
    }
    this.#command((bits) => bits & ~PCI_COMMAND_MASTER);
    // The kernel holds the device's lock while it takes the device back from us (pci_try_reset_function).
    if (failure !== undefined && !isErrno(failure, "EAGAIN")) throw failure;
  }

  #enable(): void {
    const ports = BARS.some((bar) => this.#regions.isIoPort(bar)) ? PCI_COMMAND_IO : 0;
    const wanted = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | ports;
    const got = this.#command((bits) => bits | wanted);
    // Bits that did not take would show much later, as DMA that never happens.
    if (got !== 0xffff && (got & wanted) === wanted) return;
    throw new OperatorError(`${this.name} can not be switched on`, {
      why:
        got === 0xffff
          ? "its configuration space reads as all ones, as if it had been unplugged"
          : `its command register reads 0x${got.toString(16)} after 0x${wanted.toString(16)} was set in it`,
      kind: "not-ready",
    });
  }

  #command(change: (bits: number) => number): number {
    const bits = this.#regions.read(CONFIG_REGION, PCI_COMMAND, 2);
    if (bits !== 0xffff) this.#regions.write(CONFIG_REGION, PCI_COMMAND, 2, change(bits));
    return this.#regions.read(CONFIG_REGION, PCI_COMMAND, 2);
  }
}
