import type { Doorbell, MappablePage } from "../pci-function.ts";
import type { DeviceFile } from "./device-file.ts";
import type { MsixTable } from "./msix-tables.ts";
import type { Regions } from "./regions.ts";
import { vfio_device_ioeventfd } from "./structs.ts";

const NO_EVENTFD = -1;
const keyOf = ({ region, offset, width, value }: Doorbell) => `${region}:${offset}:${width}:${value}`;

/** Doorbells that the kernel rings for us, and pages of them for others to map. */
export class Doorbells {
  readonly #bound = new Map<string, Doorbell>();

  constructor(
    private readonly device: DeviceFile,
    private readonly regions: Regions,
    private readonly msix: readonly MsixTable[],
  ) {}

  /** Throws a SysError where the kernel refuses: EINVAL (not a BAR), EEXIST, ENOSPC (1000 a device), ENOTTY. */
  bind(doorbell: Doorbell, eventfd: number): void {
    this.#request(doorbell, eventfd);
    this.#bound.set(keyOf(doorbell), doorbell);
  }

  /** Undoes `bind`; a doorbell that is not bound is ignored. */
  unbind(doorbell: Doorbell): void {
    if (this.#bound.delete(keyOf(doorbell))) this.#request(doorbell, NO_EVENTFD);
  }

  /** The page in which this doorbell comes first, where it may be mapped and holds no part of the MSI-X tables. */
  page({ region, offset }: Doorbell): MappablePage | undefined {
    const size = this.device.kernel.pageSize;
    const fdOffset = this.regions.fdOffset(region, offset, 1);
    const aligned = offset % size === 0 && fdOffset % size === 0;
    const overlaps = this.msix.some(
      ({ bar, start, end }) => bar === region && start < offset + size && offset < end,
    );
    if (!aligned || overlaps || this.regions.isIoPort(region)) return undefined;
    if (!this.regions.isMappable(region, offset, offset + size)) return undefined;
    return { fd: this.device.fd, offset: BigInt(fdOffset), size };
  }

  /** Takes every eventfd back; the reasons for what could not be done are returned. */
  close(): unknown[] {
    const failures: unknown[] = [];
    for (const doorbell of [...this.#bound.values()]) {
      try {
        this.unbind(doorbell);
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }

  #request({ region, offset, width, value }: Doorbell, fd: number): void {
    const request = vfio_device_ioeventfd.alloc({
      argsz: vfio_device_ioeventfd.size,
      // VFIO_DEVICE_IOEVENTFD_16 and _32 are the width itself.
      flags: width,
      offset: BigInt(this.regions.fdOffset(region, offset, width)),
      data: BigInt(value),
      fd,
    });
    this.device.ioctl("VFIO_DEVICE_IOEVENTFD", request);
  }
}
