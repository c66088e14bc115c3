import { checked } from "../../../src/hw/ffi/errno.ts";
import { closeFd, dupFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { libc } from "../../../src/hw/ffi/libc.ts";
import { MappedMemory } from "../../../src/hw/ffi/mmap.ts";
import type { RegionDescription } from "./protocol.ts";

/** A piece of a memfd that becomes a region. */
export interface RegionPlan {
  readonly gpa: bigint;
  readonly uva: bigint;
  /** Bytes, a multiple of the page size. */
  readonly size: number;
  /** Bytes at the end that the guest uses (all); only these are mapped here. */
  readonly tail?: number;
  /** Regions with the same name share one memfd, one behind the other (as QEMU splits RAM at 4 GiB). */
  readonly file: string;
}

/** Guest memory that this process shares with the back-end. */
export interface GuestBuffer {
  readonly gpa: bigint;
  readonly uva: bigint;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
}

const PAGE = 4096;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;

/** One region: SAFETY: the map is this object's until `close`, which empties every view of it. */
export class Region {
  // Page 0 stays free, so that an address of 0 is never a right one.
  #next = PAGE;

  private constructor(
    readonly description: RegionDescription,
    readonly fd: number,
    readonly memory: MappedMemory,
    /** Offset in the region of what is mapped. */
    readonly start: number,
  ) {}

  static create(plan: RegionPlan, fd: number, mmapOffset: number): Region {
    const { gpa, uva, size, tail = size } = plan;
    const description = { gpa, uva, size: BigInt(size), mmapOffset: BigInt(mmapOffset) };
    const start = size - tail;
    return new Region(description, fd, MappedMemory.map(fd, tail, mmapOffset + start, "guest memory"), start);
  }

  /** Bytes that nobody else gets. */
  allocate(size: number, align: number): GuestBuffer {
    const offset = Math.ceil(this.#next / align) * align;
    if (offset + size > this.memory.size) throw new RangeError(`guest region full: no ${size} bytes left`);
    this.#next = offset + size;
    return this.at(offset, size);
  }

  /** The bytes at `offset` of what is mapped. */
  at(offset: number, size: number): GuestBuffer {
    const window = this.memory.window(offset);
    const start = offset - window.offset;
    return {
      gpa: this.description.gpa + BigInt(this.start + offset),
      uva: this.description.uva + BigInt(this.start + offset),
      u8: window.u8.subarray(start, start + size),
      u16: window.u16.subarray(start >> 1, (start + size) >> 1),
      u32: window.u32.subarray(start >> 2, (start + size) >> 2),
    };
  }

  /** Frees all allocations. */
  clear(): void {
    this.#next = PAGE;
  }

  close(): void {
    this.memory.unmap();
    closeFd(this.fd);
  }
}

/**
 * Creates the regions of a plan; each holds an fd of its own.
 * @param sealable whether a back-end can keep the files from shrinking
 */
export function createRegions(plans: readonly RegionPlan[], sealable = true): Region[] {
  const regions: Region[] = [];
  for (const file of new Set(plans.map((plan) => plan.file))) {
    const parts = plans.filter((plan) => plan.file === file);
    const total = parts.reduce((sum, part) => sum + part.size, 0);
    const fd = memfd(`guest-${file}`, total);
    if (!sealable) checked(libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), "fcntl F_ADD_SEALS");
    let offset = 0;
    for (const part of parts) {
      const own = dupFd(fd);
      regions.push(Region.create(part, own, offset));
      offset += part.size;
    }
    closeFd(fd);
  }
  return regions;
}

/** Memory as QEMU lays it out: one file split around 4 GiB, and a hotplugged DIMM. */
export const qemuLayout = (bytes: number): RegionPlan[] => [
  { gpa: 0n, uva: 0x7f10_0000_0000n, size: bytes, file: "ram" },
  { gpa: 0x1_0000_0000n, uva: 0x7f10_4000_0000n, size: bytes, file: "ram" },
  { gpa: 0x2_4000_0000n, uva: 0x7e55_0000_0000n, size: bytes, file: "dimm" },
];

/** Memory as DPDK's virtio-user has it: guest addresses are the process's own. */
export const dpdkLayout = (bytes: number): RegionPlan[] => [
  { gpa: 0x7f10_0000_0000n, uva: 0x7f10_0000_0000n, size: bytes, file: "heap" },
  { gpa: 0x7f20_0000_0000n, uva: 0x7f20_0000_0000n, size: bytes, file: "heap2" },
];
