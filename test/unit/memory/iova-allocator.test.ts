import { expect, test } from "bun:test";
import fc from "fast-check";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { allocateIova } from "../../../src/memory/iova-allocator.ts";
import { CollectedLog } from "./collected-log.ts";
import { FakeDma } from "./fake-dma.ts";

const PAGE = 4096n;
const memoryOn = (dma: FakeDma) => new GuestMemory(dma, { log: new CollectedLog() });

test("takes the highest usable addresses", () => {
  const dma = new FakeDma();
  expect(allocateIova(dma, memoryOn(dma), 4097)).toBe((1n << 48n) - 2n * PAGE);
});

test("goes below guest memory and reserved ranges", () => {
  const dma = new FakeDma([{ first: 0n, last: 0xffffn }]);
  const memory = memoryOn(dma);
  memory.reserve(0xe000n, 0xffffn);
  memory.reserve(0xb000n, 0xbfffn);
  expect(allocateIova(dma, memory, 8192)).toBe(0xc000n);
  expect(allocateIova(dma, memory, 0x3000)).toBe(0x8000n);
});

test("says when there is no gap", () => {
  const dma = new FakeDma([{ first: 0n, last: 0x3fffn }]);
  const memory = memoryOn(dma);
  const fd = memfd("guest-ram", 4096);
  memory.add({ description: { gpa: 0x2000n, size: PAGE, uva: 0n, mmapOffset: 0n }, fd });
  closeFd(fd);
  expect(() => allocateIova(dma, memory, 0x3000)).toThrow("no device addresses for a buffer of 12288 bytes");
  expect(allocateIova(dma, memory, 4096)).toBe(0x3000n);
  memory.clear();
});

test("finds a gap exactly when there is one", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 15 })),
      fc.integer({ min: 1, max: 5 }),
      (taken, pages) => {
        const dma = new FakeDma([
          { first: 0n, last: 7n * PAGE - 1n },
          { first: 8n * PAGE, last: 16n * PAGE - 1n },
        ]);
        const memory = memoryOn(dma);
        for (const page of taken) memory.reserve(BigInt(page) * PAGE, BigInt(page + 1) * PAGE - 1n);
        const free = (page: number) => page !== 7 && page < 16 && !taken.includes(page);
        const fits = (page: number) => Array.from({ length: pages }, (_, i) => page + i).every(free);
        const best = Array.from({ length: 16 }, (_, i) => 15 - i).find(fits);
        if (best === undefined) expect(() => allocateIova(dma, memory, pages * 4096)).toThrow();
        else expect(allocateIova(dma, memory, pages * 4096)).toBe(BigInt(best) * PAGE);
      },
    ),
  );
});
