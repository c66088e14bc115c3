import { beforeEach, describe, expect, test } from "bun:test";
import type { PciFunction } from "../../../../src/hw/pci-function.ts";
import { openVfio } from "../../../../src/hw/vfio/open.ts";
import { BDF, FakeKernel } from "./fake-kernel.ts";
import { silentLog } from "./silent-log.ts";

const MIB = 2 ** 20;
const memory = (size: number, hva = 0x7f00_0000_0000) => ({ hva, size, stable: true });

describe.each([false, true])("DMA space (iommufd: %p)", (cdev) => {
  let kernel: FakeKernel;
  let fn: PciFunction;
  const mapCall = cdev ? "IOMMU_IOAS_MAP" : "VFIO_IOMMU_MAP_DMA";

  beforeEach(() => {
    kernel = cdev ? new FakeKernel().withCdev() : new FakeKernel();
    fn = openVfio(BDF, { log: silentLog }, kernel);
  });

  test("tells page size and usable ranges", () => {
    expect(fn.dma.pageSize).toBe(4096);
    expect(fn.dma.usable).toEqual([
      { first: 0n, last: 0xfedfffffn },
      { first: 0xfef00000n, last: 0x7f_ffff_ffffn },
    ]);
  });

  test("asks again when there are more ranges than expected", () => {
    kernel.ranges = Array.from({ length: 40 }, (_, i) => ({
      start: BigInt(i) << 32n,
      end: (BigInt(i) << 32n) + 0xffffn,
    }));
    expect(openVfio(BDF, { log: silentLog }, kernel).dma.usable.length).toBe(40);
  });

  test("maps and unmaps", () => {
    fn.dma.map(0x10_0000n, memory(MIB));
    fn.dma.map(0x20_0000n, memory(MIB));
    fn.dma.unmap(0x10_0000n, MIB);
    expect([...kernel.mappings]).toEqual([[0x20_0000n, BigInt(MIB)]]);
    fn.dma.map(0x10_0000n, memory(MIB));
    expect(kernel.mappings.size).toBe(2);
  });

  test.each([
    [0n, 0, "multiples of 4096"],
    [0x100n, 4096, "multiples of 4096"],
    [0x1000n, 4097, "multiples of 4096"],
    [0xfed0_0000n, 0x40_0000, "0xfed00000-0xff0fffff can not be mapped: the IOMMU reserves some of it"],
    [0x7f_ffff_f000n, 8192, "addresses end at 0x7fffffffff (39 bits)"],
    [2n ** 47n, 4096, "39 bits"],
  ])("IOVA %p of %p bytes is refused by name", (iova, size, message) => {
    expect(() => fn.dma.map(iova, memory(size))).toThrow(message);
    expect(kernel.mappings.size).toBe(0);
  });

  test("memory that is not page aligned is refused", () => {
    expect(() => fn.dma.map(0n, memory(4096, 0x7f00_0000_0010))).toThrow("multiples");
  });

  test("an overlap is refused by both ranges", () => {
    fn.dma.map(0x10_0000n, memory(MIB));
    expect(() => fn.dma.map(0x1f_f000n, memory(8192))).toThrow(
      "IOVA 0x1ff000-0x200fff can not be mapped: it overlaps 0x100000-0x1fffff",
    );
  });

  test("exactly what was mapped is unmapped", () => {
    fn.dma.map(0x10_0000n, memory(MIB));
    expect(() => fn.dma.unmap(0x10_0000n, 4096)).toThrow("not mapped as one");
    expect(() => fn.dma.unmap(0x20_0000n, MIB)).toThrow("not mapped as one");
    expect(kernel.mappings.size).toBe(1);
  });

  test("a memlock limit names the limit and what is needed", () => {
    fn.dma.map(0n, memory(6 * MIB));
    kernel.faults.set(mapCall, "ENOMEM");
    const attempt = () => fn.dma.map(BigInt(16 * MIB), memory(10 * MIB));
    // iommufd counts by user.
    const scope = cdev ? "8192 KiB for all processes of this user together" : "8192 KiB (";
    expect(attempt).toThrow(`16 MiB in all, the memlock limit is ${scope}`);
    try {
      attempt();
    } catch (error) {
      expect((error as { remedy: string }).remedy).toContain("ulimit -l 16384");
    }
    kernel.memlock = undefined;
    expect(attempt).toThrow("the kernel can not pin 10 MiB (6 MiB are pinned)");
  });

  test.each([
    ["EEXIST", "IOVA 0x1000-0x1fff can not be mapped: part of it is mapped already"],
    ["EINVAL", `IOVA 0x1000-0x1fff can not be mapped: ioctl`],
    ["ENOSPC", "no more than 0 mappings"],
    ["EFAULT", "can not be pinned"],
  ])("%s names the range", (code, message) => {
    kernel.faults.set(mapCall, code);
    expect(() => fn.dma.map(0x1000n, memory(4096))).toThrow(message);
    kernel.faults.clear();
    fn.dma.map(0x1000n, memory(4096));
  });

  test("an unmap that removes less is noticed", () => {
    fn.dma.map(0x1000n, memory(8192));
    kernel.mappings.set(0x1000n, 4096n);
    expect(() => fn.dma.unmap(0x1000n, 8192)).toThrow("removed 4096 of 8192 bytes");
  });
});
