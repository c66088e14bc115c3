import { type Pointer, toArrayBuffer } from "bun:ffi";
import { basename } from "node:path";
import { E, SysError } from "../../../../src/hw/ffi/errno.ts";
import type { IoctlArgument, Kernel } from "../../../../src/hw/vfio/kernel.ts";
import * as S from "../../../../src/hw/vfio/structs.ts";
import type { IoctlName } from "../../../../src/hw/vfio/uapi.ts";
import { FakeIrqs } from "./fake-irqs.ts";

export const BDF = "0000:00:04.0";
const REGION_SHIFT = 2 ** 40;
const CONFIG = 7;

/** A region of the device and what the kernel says of it. */
export interface FakeRegion {
  bytes: Uint8Array;
  mmap: boolean;
  /** Areas of the sparse mmap capability; none without it. */
  sparse?: { offset: number; size: number }[];
}

/** A kernel with one device behind vfio-pci, which follows the rules of the drivers in drivers/vfio and iommufd. */
export class FakeKernel implements Kernel {
  readonly pageSize = 4096;
  /** Links and files by path; folders are what they imply. */
  readonly links = new Map<string, string>();
  readonly files = new Map<string, string>();
  readonly nodes = new Set(["/dev/vfio/vfio", "/dev/vfio/7"]);
  readonly openFds = new Map<number, string>();
  /** Everything that was asked, as `NAME` or `open path`. */
  readonly calls: string[] = [];
  /** Errno names by request or `open path`; the call fails with it. */
  readonly faults = new Map<string, string>();
  readonly regions = new Map<number, FakeRegion>();
  readonly irqs = new FakeIrqs();
  readonly ioeventfds = new Map<string, number>();
  readonly mappings = new Map<bigint, bigint>();
  ranges: { start: bigint; end: bigint }[] = [
    { start: 0n, end: 0xfedfffffn },
    { start: 0xfef00000n, end: 2n ** 39n - 1n },
  ];
  viable = true;
  canReset = true;
  memlock: bigint | undefined = 8388608n;
  #nextFd = 100;
  #attached = false;
  #ioas = false;

  constructor() {
    const sysfs = `/sys/bus/pci/devices/${BDF}`;
    this.links.set(`${sysfs}/driver`, "../../../bus/pci/drivers/vfio-pci");
    this.links.set(`${sysfs}/iommu_group`, "../../../kernel/iommu_groups/7");
    this.links.set(`/sys/kernel/iommu_groups/7/devices/${BDF}/driver`, "../vfio-pci");
    // Also without character devices, whose number is what is missing then.
    this.links.set(`${sysfs}/vfio-dev/vfio3/subsystem`, "../vfio-dev");
    this.regions.set(CONFIG, { bytes: configSpace(), mmap: false });
    this.regions.set(0, { bytes: new Uint8Array(64), mmap: false });
    this.regions.set(4, { bytes: new Uint8Array(0x8000), mmap: true });
  }

  /** Adds the character device of newer kernels. */
  withCdev(): this {
    this.files.set(`/sys/bus/pci/devices/${BDF}/vfio-dev/vfio3/dev`, "511:3");
    this.nodes.add("/dev/vfio/devices/vfio3");
    this.nodes.add("/dev/iommu");
    return this;
  }

  open(path: string): number {
    this.#enter(`open ${path}`, "open", path);
    if (!this.nodes.has(path)) throw new SysError("open", E.ENOENT, path);
    return this.#newFd(path);
  }

  close(fd: number): void {
    if (!this.openFds.has(fd)) throw new SysError("close", E.EBADF);
    this.calls.push(`close ${this.openFds.get(fd)}`);
    this.openFds.delete(fd);
  }

  ioctl(fd: number, request: IoctlName, argument: IoctlArgument, path: string): number {
    if (!this.openFds.has(fd)) throw new SysError(`ioctl ${request}`, E.EBADF, path);
    this.#enter(request, `ioctl ${request}`, path);
    const fail = (errno: number) => new SysError(`ioctl ${request}`, errno, path);
    const bytes = argument instanceof Uint8Array ? argument : new Uint8Array();
    switch (request) {
      case "VFIO_GET_API_VERSION":
        return 0;
      case "VFIO_CHECK_EXTENSION":
        return argument === 3 ? 1 : 0;
      case "VFIO_GROUP_GET_STATUS":
        S.vfio_group_status.write(bytes, { flags: this.viable ? 1 : 0 });
        return 0;
      case "VFIO_GROUP_SET_CONTAINER":
        if (this.openFds.get((argument as Int32Array)[0]!) !== "/dev/vfio/vfio") throw fail(E.EBADF);
        this.#attached = true;
        return 0;
      case "VFIO_SET_IOMMU":
        if (!this.#attached || argument !== 3) throw fail(E.EINVAL);
        return 0;
      case "VFIO_GROUP_GET_DEVICE_FD": {
        const name = Buffer.from(bytes).toString().replace(/\0$/, "");
        if (!name.startsWith(BDF)) throw fail(E.ENODEV);
        return this.#newFd(`device ${name}`);
      }
      case "VFIO_DEVICE_BIND_IOMMUFD": {
        const { iommufd, flags } = S.vfio_device_bind_iommufd.read(bytes);
        if (this.openFds.get(iommufd) !== "/dev/iommu" || flags !== 0) throw fail(E.EBADF);
        return 0;
      }
      case "IOMMU_IOAS_ALLOC":
        S.iommu_ioas_alloc.write(bytes, { out_ioas_id: 5 });
        this.#ioas = true;
        return 0;
      case "VFIO_DEVICE_ATTACH_IOMMUFD_PT":
        if (!this.#ioas || S.vfio_device_attach_iommufd_pt.read(bytes).pt_id !== 5) throw fail(E.EINVAL);
        return 0;
      case "VFIO_DEVICE_GET_INFO":
        S.vfio_device_info.write(bytes, { flags: 2 | (this.canReset ? 1 : 0), num_regions: 9, num_irqs: 5 });
        return 0;
      case "VFIO_DEVICE_GET_REGION_INFO":
        this.#regionInfo(bytes);
        return 0;
      case "VFIO_DEVICE_GET_IRQ_INFO":
      case "VFIO_DEVICE_SET_IRQS": {
        const errno = request === "VFIO_DEVICE_SET_IRQS" ? this.irqs.set(bytes) : this.irqs.info(bytes);
        if (errno) throw fail(errno);
        return 0;
      }
      case "VFIO_DEVICE_RESET":
        if (!this.canReset) throw fail(E.EINVAL);
        return 0;
      case "VFIO_DEVICE_IOEVENTFD": {
        const { flags, offset, data, fd: eventfd } = S.vfio_device_ioeventfd.read(bytes);
        const key = `${flags}@${Math.floor(Number(offset) / REGION_SHIFT)}:${Number(offset) % REGION_SHIFT}=${data}`;
        if (eventfd === -1) {
          if (!this.ioeventfds.delete(key)) throw fail(E.ENODEV);
        } else if (this.ioeventfds.has(key)) throw fail(E.EEXIST);
        else this.ioeventfds.set(key, eventfd);
        return 0;
      }
      case "VFIO_IOMMU_GET_INFO":
        this.#iommuInfo(bytes);
        return 0;
      case "IOMMU_IOAS_IOVA_RANGES":
        this.#iovaRanges(bytes, fail);
        return 0;
      case "VFIO_IOMMU_MAP_DMA": {
        const { iova, size, vaddr } = S.vfio_iommu_type1_dma_map.read(bytes);
        this.#map(iova, size, vaddr, fail);
        return 0;
      }
      case "IOMMU_IOAS_MAP": {
        const { iova, length, user_va, flags } = S.iommu_ioas_map.read(bytes);
        if (flags !== 7) throw fail(E.EINVAL);
        this.#map(iova, length, user_va, fail);
        return 0;
      }
      case "VFIO_IOMMU_UNMAP_DMA": {
        const { iova } = S.vfio_iommu_type1_dma_unmap.read(bytes);
        S.vfio_iommu_type1_dma_unmap.write(bytes, { size: this.#unmap(iova) });
        return 0;
      }
      case "IOMMU_IOAS_UNMAP": {
        const { iova } = S.iommu_ioas_unmap.read(bytes);
        S.iommu_ioas_unmap.write(bytes, { length: this.#unmap(iova) });
        return 0;
      }
    }
  }

  pread(_fd: number, bytes: Uint8Array, offset: number, path: string): void {
    this.#enter("pread", "pread", path);
    const region = this.regions.get(Math.floor(offset / REGION_SHIFT))!;
    const at = offset % REGION_SHIFT;
    bytes.set(region.bytes.subarray(at, at + bytes.length));
  }

  pwrite(_fd: number, bytes: Uint8Array, offset: number, path: string): void {
    this.#enter("pwrite", "pwrite", path);
    this.regions.get(Math.floor(offset / REGION_SHIFT))!.bytes.set(bytes, offset % REGION_SHIFT);
  }

  exists(path: string): boolean {
    if (this.nodes.has(path) || this.files.has(path)) return true;
    return [...this.links.keys()].some((link) => link.startsWith(`${path}/`));
  }

  list(path: string): string[] {
    const names = [...this.links.keys(), ...this.files.keys()]
      .filter((entry) => entry.startsWith(`${path}/`))
      .map((entry) => entry.slice(path.length + 1).split("/")[0]!);
    return [...new Set(names)];
  }

  linkName(path: string): string | undefined {
    const target = this.links.get(path);
    return target === undefined ? undefined : basename(target);
  }

  linkTarget(path: string): string | undefined {
    return this.links.get(path);
  }

  text(path: string): string | undefined {
    return this.files.get(path);
  }

  memlockLimit(): bigint | undefined {
    return this.memlock;
  }

  get command(): number {
    return new DataView(this.regions.get(CONFIG)!.bytes.buffer).getUint16(4, true);
  }

  #enter(key: string, call: string, path: string): void {
    this.calls.push(key);
    const code = this.faults.get(key) as keyof typeof E | undefined;
    if (code) throw new SysError(call, E[code], path);
  }

  #newFd(what: string): number {
    const fd = this.#nextFd++;
    this.openFds.set(fd, what);
    return fd;
  }

  #regionInfo(bytes: Uint8Array): void {
    const { index } = S.vfio_region_info.read(bytes);
    const region = this.regions.get(index);
    const sparse = region?.sparse;
    const header = S.vfio_region_info_cap_sparse_mmap;
    const needed = 32 + (sparse ? header.size + 16 * sparse.length : 0);
    const flags = 3 | (region?.mmap ? 4 : 0) | (sparse ? 8 : 0);
    const size = BigInt(region?.bytes.length ?? 0);
    S.vfio_region_info.write(bytes, { argsz: needed, flags, size, offset: BigInt(index * REGION_SHIFT) });
    if (!sparse || bytes.length < needed) return;
    S.vfio_region_info.write(bytes, { cap_offset: 32 });
    header.write(bytes, { header: { id: 1, version: 1, next: 0 }, nr_areas: sparse.length }, 32);
    for (const [i, area] of sparse.entries()) {
      const values = { offset: BigInt(area.offset), size: BigInt(area.size) };
      S.vfio_region_sparse_mmap_area.write(bytes, values, 32 + header.size + 16 * i);
    }
  }

  /** Two capabilities: one that nobody asks for, then the ranges. */
  #iommuInfo(bytes: Uint8Array): void {
    const header = S.vfio_iommu_type1_info_cap_iova_range;
    const needed = 24 + 16 + header.size + 16 * this.ranges.length;
    S.vfio_iommu_type1_info.write(bytes, { argsz: needed, flags: 3, iova_pgsizes: 0x40201000n });
    if (bytes.length < needed) return;
    S.vfio_iommu_type1_info.write(bytes, { cap_offset: 24 });
    S.vfio_info_cap_header.write(bytes, { id: 3, version: 1, next: 40 }, 24);
    header.write(bytes, { header: { id: 1, version: 1, next: 0 }, nr_iovas: this.ranges.length }, 40);
    for (const [i, range] of this.ranges.entries()) {
      S.vfio_iova_range.write(bytes, range, 40 + header.size + 16 * i);
    }
  }

  #iovaRanges(bytes: Uint8Array, fail: (errno: number) => SysError): void {
    const { num_iovas, allowed_iovas } = S.iommu_ioas_iova_ranges.read(bytes);
    S.iommu_ioas_iova_ranges.write(bytes, { num_iovas: this.ranges.length, out_iova_alignment: 1n });
    if (num_iovas < this.ranges.length) throw fail(E.EMSGSIZE);
    // SAFETY: the caller's list, which it keeps until this call returns.
    const list = new BigUint64Array(
      toArrayBuffer(Number(allowed_iovas) as Pointer, 0, 16 * this.ranges.length),
    );
    for (const [i, { start, end }] of this.ranges.entries()) list.set([start, end], 2 * i);
  }

  #map(iova: bigint, size: bigint, hva: bigint, fail: (errno: number) => SysError): void {
    if (hva === 0n) throw fail(E.EFAULT);
    for (const [start, length] of this.mappings) {
      if (iova < start + length && start < iova + size) throw fail(E.EEXIST);
    }
    this.mappings.set(iova, size);
  }

  #unmap(iova: bigint): bigint {
    const size = this.mappings.get(iova) ?? 0n;
    this.mappings.delete(iova);
    return size;
  }
}

/** BAR 0 ports, BAR 4 a 64-bit memory BAR whose upper half would look like ports; MSI-X tables in BAR 4. */
function configSpace(): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x10001af4, true);
  view.setUint32(0x10, 0xc001, true);
  view.setUint32(0x20, 0xfe00000c, true);
  view.setUint32(0x24, 0x00000001, true);
  view.setUint8(0x34, 0x98);
  view.setUint8(0x98, 0x11);
  view.setUint16(0x9a, 3, true);
  view.setUint32(0x9c, 0x5000 | 4, true);
  view.setUint32(0xa0, 0x6800 | 4, true);
  return bytes;
}
