import { beforeEach, describe, expect, test } from "bun:test";
import { SysError } from "../../../../src/hw/ffi/errno.ts";
import { CONFIG_REGION, type PciFunction } from "../../../../src/hw/pci-function.ts";
import { openVfio } from "../../../../src/hw/vfio/open.ts";
import { BDF, FakeKernel } from "./fake-kernel.ts";
import { silentLog } from "./silent-log.ts";

const PAGE = { hva: 0x7f00_0000_0000, size: 4096, stable: true };
const bell = (offset: number, value = 0) => ({ region: 4, offset, width: 2 as const, value });

let kernel: FakeKernel;
let fn: PciFunction;

beforeEach(() => {
  kernel = new FakeKernel();
  fn = openVfio(BDF, { log: silentLog }, kernel);
});

describe("registers", () => {
  test("are accessed at their width, little endian and unsigned", () => {
    fn.write(4, 8, 4, 0xfedcba98);
    expect([fn.read(4, 8, 4), fn.read(4, 8, 2), fn.read(4, 10, 2), fn.read(4, 11, 1)]).toEqual([
      0xfedcba98, 0xba98, 0xfedc, 0xfe,
    ]);
    fn.write(4, 9, 1, 0x11);
    expect(fn.read(4, 8, 4)).toBe(0xfedc1198);
    expect([...kernel.regions.get(4)!.bytes.subarray(8, 12)]).toEqual([0x98, 0x11, 0xdc, 0xfe]);
  });

  test.each([
    [4, 0x8000, 1],
    [4, 0x7ffe, 4],
    [4, -2, 2],
    [4, 1, 2],
    [1, 0, 1],
    [9, 0, 1],
  ] as const)("region %p offset %p width %p is refused", (region, offset, width) => {
    expect(() => fn.read(region, offset, width)).toThrow(RangeError);
    expect(() => fn.write(region, offset, width, 0)).toThrow(RangeError);
  });

  test("an access that the kernel refuses is a SysError", () => {
    kernel.faults.set("pread", "EIO");
    expect(() => fn.read(4, 0, 4)).toThrow(SysError);
  });
});

describe("interrupts", () => {
  test("all vectors are allocated at once and set one by one", () => {
    expect(fn.msixVectors).toBe(4);
    fn.enableMsix(3);
    expect(kernel.irqs.vectors).toEqual([-1, -1, -1]);
    fn.setVector(1, 33);
    fn.setVector(2, 34);
    fn.setVector(1, -1);
    expect(kernel.irqs.vectors).toEqual([-1, -1, 34]);
    fn.enableMsix(4);
    expect(kernel.irqs.vectors).toEqual([-1, -1, -1, -1]);
    fn.disableMsix();
    fn.disableMsix();
    expect(kernel.irqs.vectors).toBeUndefined();
  });

  test("more vectors than there are, and vectors not allocated, are refused", () => {
    expect(() => fn.enableMsix(5)).toThrow("it has 4");
    expect(() => fn.enableMsix(0)).toThrow("0 MSI-X vectors");
    fn.enableMsix(2);
    expect(() => fn.setVector(2, 1)).toThrow(RangeError);
  });

  test.each([
    ["ENOSPC", "no interrupt vector is left in this machine (ENOSPC)"],
    ["EINVAL", "Invalid argument (EINVAL)"],
  ] as const)("an eventfd refused with %s is an error that names the vector", (code, why) => {
    fn.enableMsix(2);
    kernel.irqs.refused.set(33, code);
    expect(() => fn.setVector(1, 33)).toThrow(`${BDF}: MSI-X vector 1 can not signal the eventfd: ${why}`);
  });

  test("errors and release requests are watched where there are such", () => {
    expect([fn.watch("error", 50), fn.watch("release", 51)]).toEqual([true, true]);
    expect([...kernel.irqs.watched]).toEqual([
      [3, 50],
      [4, 51],
    ]);
    kernel.irqs.counts.delete(3);
    expect(fn.watch("error", 50)).toBe(false);
  });
});

describe("doorbells", () => {
  test("are bound by width, place and value, and unbound the same", () => {
    fn.bindDoorbell(bell(0x3004, 1), 60);
    fn.bindDoorbell(bell(0x3008, 2), 61);
    expect([...kernel.ioeventfds]).toEqual([
      ["2@4:12292=1", 60],
      ["2@4:12296=2", 61],
    ]);
    fn.unbindDoorbell(bell(0x3004, 1));
    fn.unbindDoorbell(bell(0x3004, 1));
    expect([...kernel.ioeventfds.values()]).toEqual([61]);
  });

  test("a refusal is a SysError and leaves nothing to unbind", () => {
    kernel.faults.set("VFIO_DEVICE_IOEVENTFD", "ENOSPC");
    expect(() => fn.bindDoorbell(bell(0x3000), 60)).toThrow(SysError);
    kernel.faults.clear();
    fn.unbindDoorbell(bell(0x3000));
    expect(() => fn.bindDoorbell(bell(0x8000), 60)).toThrow(RangeError);
  });

  test("a page is given away when it can be mapped, begins there, and has no MSI-X table", () => {
    const offset = BigInt(4 * 2 ** 40 + 0x3000);
    expect(fn.doorbellPage(bell(0x3000))).toEqual({ fd: fn.vfioFds!.device, offset, size: 4096 });
    // Not at its page's beginning, in the vector table's page, in the pending bits' page.
    for (const no of [0x3004, 0x5000, 0x6000]) expect(fn.doorbellPage(bell(no))).toBeUndefined();
    expect(fn.doorbellPage({ region: 0, offset: 0, width: 2, value: 0 })).toBeUndefined();
  });

  test("only what the kernel lists is mappable where it lists anything", () => {
    const sparse = new FakeKernel();
    sparse.regions.get(4)!.sparse = [
      { offset: 0, size: 0x3000 },
      { offset: 0x4000, size: 0x1000 },
    ];
    const other = openVfio(BDF, { log: silentLog }, sparse);
    expect(other.doorbellPage(bell(0x2000))).toBeDefined();
    expect(other.doorbellPage(bell(0x3000))).toBeUndefined();
    expect(other.doorbellPage(bell(0x4000))).toBeDefined();
  });
});

describe("reset", () => {
  test("frees the vectors first, keeps mappings and switches the device on again", () => {
    fn.enableMsix(2);
    fn.dma.map(0x1000n, PAGE);
    new DataView(kernel.regions.get(CONFIG_REGION)!.bytes.buffer).setUint16(4, 0, true);
    kernel.calls.length = 0;
    fn.reset();
    expect(kernel.calls.slice(0, 2)).toEqual(["VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_RESET"]);
    expect(kernel.command).toBe(7);
    expect(kernel.mappings.size).toBe(1);
  });

  test("of a device that has none is refused", () => {
    kernel.canReset = false;
    const other = openVfio(BDF, { log: silentLog }, kernel);
    expect(() => other.reset()).toThrow("can not be reset");
  });
});

describe("close", () => {
  const start = () => {
    fn.enableMsix(2);
    fn.setVector(0, 70);
    fn.watch("release", 71);
    fn.bindDoorbell(bell(0x3000), 72);
    fn.dma.map(0x1000n, PAGE);
    fn.dma.map(0x10000n, PAGE);
    kernel.calls.length = 0;
  };

  test("gives back everything, the device reset before its mappings go", () => {
    start();
    fn.close();
    expect(kernel.calls).toEqual([
      "VFIO_DEVICE_SET_IRQS",
      "VFIO_DEVICE_SET_IRQS",
      "VFIO_DEVICE_IOEVENTFD",
      "VFIO_DEVICE_RESET",
      "VFIO_IOMMU_UNMAP_DMA",
      "VFIO_IOMMU_UNMAP_DMA",
      `close device ${BDF}`,
      "close /dev/vfio/7",
      "close /dev/vfio/vfio",
    ]);
    expect(kernel.irqs.vectors).toBeUndefined();
    expect(kernel.irqs.watched.get(4)).toBe(-1);
    expect([kernel.mappings.size, kernel.ioeventfds.size, kernel.openFds.size]).toEqual([0, 0, 0]);
    fn.close();
    expect(kernel.calls.length).toBe(9);
  });

  test("a device without reset loses bus mastering instead", () => {
    kernel.canReset = false;
    const other = openVfio(BDF, { log: silentLog }, kernel);
    other.close();
    expect(kernel.command).toBe(3);
  });

  test.each([
    ["EAGAIN", 0],
    ["EIO", 1],
  ])("a reset that fails (%s) leaves the device without bus mastering, %p warnings", (code, expected) => {
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (text: string) => warnings.push(text) };
    const other = openVfio(BDF, { log }, kernel);
    kernel.faults.set("VFIO_DEVICE_RESET", code);
    other.close();
    expect(kernel.command).toBe(3);
    expect(warnings.length).toBe(expected);
  });

  test("goes through to its end when the device is gone, and reports", () => {
    start();
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (text: string) => warnings.push(text) };
    const other = openVfio(BDF, { log }, kernel);
    other.dma.map(0x5000n, PAGE);
    kernel.faults.set("VFIO_DEVICE_RESET", "ENODEV");
    kernel.faults.set("VFIO_IOMMU_UNMAP_DMA", "EINVAL");
    kernel.regions.get(CONFIG_REGION)!.bytes.fill(0xff);
    other.close();
    expect(warnings.length).toBe(2);
    expect([...kernel.openFds.values()].length).toBe(3);
  });
});
