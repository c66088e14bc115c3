import { afterEach, describe, expect, test } from "bun:test";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import type { IovaRange } from "../../../src/hw/pci-function.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { allocateIova } from "../../../src/memory/iova-allocator.ts";
import { CollectedLog } from "./collected-log.ts";
import { FakeDma } from "./fake-dma.ts";

const MIB = 1n << 20n;
const GIB = 1n << 30n;
const UVA = 0x7f00_0000_0000n;

const cleanup: (() => void)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function region(gpa: bigint, size: bigint, uva = UVA + gpa) {
  const fd = memfd("guest-copy", Number(size));
  cleanup.push(() => closeFd(fd));
  return { description: { gpa, size, uva, mmapOffset: 0n }, fd };
}

/** Memory of 1 MiB and, above 4 GiB, of 2.5 GiB (which takes no room until it is touched), on a first device. */
function stage(usable?: readonly IovaRange[]) {
  const [first, second] = [new FakeDma(), new FakeDma(usable)];
  const log = new CollectedLog();
  const progress: string[] = [];
  const onProgress = (done: bigint, total: bigint) => void progress.push(`${done / MIB}/${total / MIB}`);
  const memory = new GuestMemory(first, { log, onProgress });
  const low = region(0n, MIB);
  memory.replaceAll([low, region(4n * GIB, 2n * GIB + 512n * MIB)]);
  progress.length = 0;
  return { first, second, memory, log, progress, low };
}

function whole(memory: GuestMemory, dma: FakeDma) {
  const copy = memory.copyFor(dma);
  while (!copy.step());
  return copy;
}

test("a copy maps the same pages for a second device, piece by piece, and the first keeps them", () => {
  const { first, second, memory, progress } = stage();
  const copy = memory.copyFor(second);
  const before = new Map(first.mapped);
  expect(second.mapped.size).toBe(0);
  expect([copy.step(), copy.step(), copy.step(), copy.step()]).toEqual([false, false, false, true]);
  expect(second.mapped).toEqual(before);
  expect(first.mapped).toEqual(before);
  expect(progress).toEqual(["0/2561", "1/2561", "1025/2561", "2049/2561"]);
  copy.cancel();
  memory.clear();
});

test("once it is adopted the second device has the memory alone, and changes reach it", () => {
  const { first, second, memory, low } = stage();
  const hva = memory.gpaToHva(0n, 8);
  memory.adopt(whole(memory, second));
  expect(memory.dma).toBe(second);
  expect(first.mapped.size).toBe(0);
  expect(memory.gpaToHva(0n, 8)).toBe(hva);
  memory.remove(low.description);
  memory.add(region(16n * MIB, MIB));
  expect(second.ranges()).toEqual(["1000000-1100000", "100000000-1a0000000"]);
  memory.clear();
  expect(second.mapped.size).toBe(0);
  expect(first.mapped.size).toBe(0);
});

test("a cancelled copy leaves nothing behind, and another one can follow", () => {
  const { first, second, memory } = stage();
  const copy = memory.copyFor(second);
  copy.step();
  copy.step();
  copy.cancel();
  copy.cancel();
  expect(second.mapped.size).toBe(0);
  expect(first.ranges()).toHaveLength(2);
  whole(memory, second).cancel();
  memory.clear();
});

describe("a change of the table ends a copy", () => {
  for (const steps of [0, 2, 4]) {
    for (const [name, change] of [
      ["a region more", (s: ReturnType<typeof stage>) => s.memory.add(region(16n * MIB, MIB))],
      ["a region less", (s: ReturnType<typeof stage>) => s.memory.remove(s.low.description)],
      ["another table", (s: ReturnType<typeof stage>) => s.memory.replaceAll([region(0n, MIB)])],
      ["no memory any more", (s: ReturnType<typeof stage>) => s.memory.clear()],
    ] as const) {
      test(`${name}, after ${steps} of 4 pieces`, () => {
        const parts = stage();
        const { memory, second } = parts;
        const copy = memory.copyFor(second);
        for (let i = 0; i < steps; i++) copy.step();
        change(parts);
        expect(copy.lost).toBe(true);
        expect(second.mapped.size).toBe(0);
        expect(() => memory.adopt(copy)).toThrow(/another memory table/);
        expect(() => copy.step()).toThrow(/ended/);
        copy.cancel();
        memory.clear();
      });
    }
  }

  test("but not the same table again", () => {
    const { memory, second } = stage();
    const table = [region(0n, MIB)];
    memory.replaceAll(table);
    const copy = memory.copyFor(second);
    memory.replaceAll(table);
    expect(copy.lost).toBe(false);
    expect(copy.step()).toBe(true);
    memory.adopt(copy);
    memory.clear();
  });
});

test("a second device that can not address the guest's memory is refused by name of the region", () => {
  const { memory, second, first } = stage([{ first: 0n, last: 4n * GIB - 1n }]);
  expect(() => memory.copyFor(second)).toThrow(/memory region GPA 0x100000000–.*the IOMMU has 32/);
  expect(second.calls).toBe(0);
  expect(first.mapped.size).toBeGreaterThan(0);
  memory.clear();
});

test("a mapping that fails in the middle is an error, and what was mapped goes", () => {
  const { memory, second, first } = stage();
  second.mapsLeft = 2;
  const copy = memory.copyFor(second);
  expect([copy.step(), copy.step()]).toEqual([false, false]);
  expect(() => copy.step()).toThrow(/DMA mapping of memory region GPA 0x100000000.*no room/);
  copy.cancel();
  expect(second.mapped.size).toBe(0);
  expect(first.mapped.size).toBeGreaterThan(0);
  memory.clear();
});

test("buffers of ours on either device stay apart, and out of the guest's memory", () => {
  const { memory, first, second } = stage();
  const copy = whole(memory, second);
  const one = allocateIova(first, memory, 4096);
  memory.reserve(one, one + 4095n);
  const other = allocateIova(second, memory, 4096);
  expect(other).not.toBe(one);
  expect(memory.overlaps(other, other + 4095n)).toBe(false);
  memory.release(one);
  copy.cancel();
  memory.clear();
});

test("a first device that does not give the memory back keeps its pages mapped here, and the log says so", () => {
  const { memory, first, second, log } = stage();
  const copy = whole(memory, second);
  const unmap = first.unmap.bind(first);
  first.unmap = () => {
    throw new Error("the device is gone");
  };
  memory.adopt(copy);
  expect(log.lines.filter((line) => line.includes("the device is gone"))).toHaveLength(2);
  first.unmap = unmap;
  expect(memory.dma).toBe(second);
  memory.clear();
  expect(second.mapped.size).toBe(0);
});
