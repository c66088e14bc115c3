import type { RegisterWidth } from "../pci-function.ts";
import { findCapability } from "./capability-chain.ts";
import type { DeviceFile } from "./device-file.ts";
import {
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from "./structs.ts";
import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_FLAG_CAPS,
  VFIO_REGION_INFO_FLAG_MMAP,
} from "./uapi.ts";

const PCI_BASE_ADDRESS_0 = 0x10;
const BARS = 6;
const BAR_IS_IO = 1;
const LARGEST_INFO = 1 << 20;

/** Bytes from `start` up to `end`. */
interface Area {
  readonly start: number;
  readonly end: number;
}

interface Region {
  /** Bytes, 0 when absent. */
  readonly size: number;
  /** Where it begins in the device's fd. */
  readonly fdOffset: number;
  readonly isIoPort: boolean;
  /** What may be mapped. */
  readonly mappable: readonly Area[];
}

const ABSENT: Region = { size: 0, fdOffset: 0, isIoPort: false, mappable: [] };

/** The BARs and the configuration space of a device, and accesses to them by pread and pwrite. */
export class Regions {
  readonly #regions: Region[];
  readonly #scratch: Record<RegisterWidth, { bytes: Uint8Array; view: DataView }>;

  constructor(private readonly device: DeviceFile) {
    const cell = (width: number) => {
      const buffer = new ArrayBuffer(width);
      return { view: new DataView(buffer), bytes: new Uint8Array(buffer) };
    };
    this.#scratch = { 1: cell(1), 2: cell(2), 4: cell(4) };
    this.#regions = Array.from({ length: VFIO_PCI_CONFIG_REGION_INDEX + 1 }, () => ABSENT);
    // The configuration space comes first: it tells which of the BARs are ports.
    this.#regions[VFIO_PCI_CONFIG_REGION_INDEX] = this.#load(VFIO_PCI_CONFIG_REGION_INDEX);
    for (let bar = 0; bar < BARS; bar++) this.#regions[bar] = this.#load(bar);
  }

  size(region: number): number {
    return this.#regions[region]?.size ?? 0;
  }

  isIoPort(region: number): boolean {
    return this.#regions[region]?.isIoPort ?? false;
  }

  /** Offset in the device's fd of a register. */
  fdOffset(region: number, offset: number, length: number): number {
    const { size, fdOffset } = this.#regions[region] ?? ABSENT;
    if (!Number.isInteger(offset) || offset < 0 || offset + length > size || offset % length !== 0) {
      throw new RangeError(
        `${length}-byte access at 0x${offset.toString(16)} of region ${region} with ${size} bytes`,
      );
    }
    return fdOffset + offset;
  }

  read(region: number, offset: number, width: RegisterWidth): number {
    const { bytes, view } = this.#scratch[width];
    this.device.read(bytes, this.fdOffset(region, offset, width));
    return width === 1 ? view.getUint8(0) : width === 2 ? view.getUint16(0, true) : view.getUint32(0, true);
  }

  write(region: number, offset: number, width: RegisterWidth, value: number): void {
    const { bytes, view } = this.#scratch[width];
    if (width === 1) view.setUint8(0, value);
    else if (width === 2) view.setUint16(0, value, true);
    else view.setUint32(0, value, true);
    this.device.write(bytes, this.fdOffset(region, offset, width));
  }

  /** Whether all of these bytes may be mapped. */
  isMappable(region: number, start: number, end: number): boolean {
    const areas = this.#regions[region]?.mappable ?? [];
    return areas.some((area) => area.start <= start && end <= area.end);
  }

  #load(index: number): Region {
    let info = this.#info(index, vfio_region_info.size);
    const { argsz } = vfio_region_info.read(info);
    if (argsz > info.length && argsz <= LARGEST_INFO) info = this.#info(index, argsz);
    const { flags, cap_offset, size, offset } = vfio_region_info.read(info);
    // An address and size beyond 2^53 is nothing that pread could reach.
    if (size === 0n || offset + size > BigInt(Number.MAX_SAFE_INTEGER)) return ABSENT;
    const whole: Area = { start: 0, end: Number(size) };
    const sparse = flags & VFIO_REGION_INFO_FLAG_CAPS ? sparseAreas(info, cap_offset) : undefined;
    return {
      size: Number(size),
      fdOffset: Number(offset),
      isIoPort: index < BARS && this.#isIoBar(index),
      mappable: flags & VFIO_REGION_INFO_FLAG_MMAP ? (sparse ?? [whole]) : [],
    };
  }

  #isIoBar(bar: number): boolean {
    return (this.read(VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0 + 4 * bar, 4) & BAR_IS_IO) !== 0;
  }

  #info(index: number, bytes: number): Uint8Array {
    const info = new Uint8Array(new ArrayBuffer(bytes));
    vfio_region_info.write(info, { argsz: bytes, index });
    this.device.ioctl("VFIO_DEVICE_GET_REGION_INFO", info);
    return info;
  }
}

/** The parts of a region that may be mapped when not all of it may; undefined when there is no such list. */
function sparseAreas(info: Uint8Array, first: number): Area[] | undefined {
  const cap = findCapability(info, first, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  const header = vfio_region_info_cap_sparse_mmap;
  if (!cap || cap.length < header.size) return undefined;
  const areas: Area[] = [];
  for (let i = 0; i < header.read(cap).nr_areas; i++) {
    const at = header.size + i * vfio_region_sparse_mmap_area.size;
    if (at + vfio_region_sparse_mmap_area.size > cap.length) break;
    const { offset, size } = vfio_region_sparse_mmap_area.read(cap, at);
    areas.push({ start: Number(offset), end: Number(offset + size) });
  }
  return areas;
}
