import { expect, test } from "bun:test";
import fc from "fast-check";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import type { RegionDescription } from "../../../src/memory/region.ts";
import { CollectedLog } from "./collected-log.ts";
import { FakeDma } from "./fake-dma.ts";

const PAGE = 4096n;
/** Regions on a small grid, so that tables often share, overlap and replace regions. */
const anyRegion = fc
  .record({ page: fc.integer({ min: 0, max: 12 }), pages: fc.integer({ min: 1, max: 4 }) })
  .map(({ page, pages }): RegionDescription => {
    const gpa = BigInt(page) * PAGE;
    return { gpa, size: BigInt(pages) * PAGE, uva: 0x10_0000n + gpa, mmapOffset: gpa };
  });

type Step =
  | { readonly kind: "table"; readonly table: RegionDescription[]; readonly mapsLeft: number }
  | { readonly kind: "add"; readonly region: RegionDescription; readonly mapsLeft: number }
  | { readonly kind: "remove"; readonly region: RegionDescription };

const mapsLeft = fc.oneof(fc.constant(1000), fc.integer({ min: 0, max: 3 }));
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("table" as const), table: fc.array(anyRegion, { maxLength: 5 }), mapsLeft }),
  fc.record({ kind: fc.constant("add" as const), region: anyRegion, mapsLeft }),
  fc.record({ kind: fc.constant("remove" as const), region: anyRegion }),
);

/** The model: mapped pages of a table. */
const pagesOf = (regions: readonly RegionDescription[]) =>
  regions
    .flatMap(({ gpa, size }) => Array.from({ length: Number(size / PAGE) }, (_, i) => gpa + BigInt(i) * PAGE))
    .sort();
const mappedPages = (dma: FakeDma) =>
  pagesOf([...dma.mapped].map(([gpa, { size }]) => ({ gpa, size: BigInt(size), uva: 0n, mmapOffset: 0n })));

/** Fails `map` from the n-th call on, but only within one step: the way back must work. */
class FlakyDma extends FakeDma {
  failAt = Number.POSITIVE_INFINITY;
  override map(...args: Parameters<FakeDma["map"]>): void {
    if (this.failAt-- === 0) throw new Error("injected");
    super.map(...args);
  }
}

test("the device sees exactly the table after any sequence, and the old one after a failure", () => {
  const fd = memfd("guest-ram", 64 * 4096);
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 12 }), (steps) => {
      const dma = new FlakyDma();
      const memory = new GuestMemory(dma, { log: new CollectedLog() });
      try {
        for (const step of steps) {
          const before = memory.regions;
          dma.failAt = "mapsLeft" in step ? step.mapsLeft : 1000;
          try {
            if (step.kind === "table") {
              memory.replaceAll(step.table.map((description) => ({ description, fd })));
              expect(memory.regions).toEqual(step.table);
            } else if (step.kind === "add") {
              memory.add({ description: step.region, fd });
              expect(memory.regions).toEqual([...before, step.region]);
            } else {
              memory.remove(step.region);
              expect(memory.count).toBe(before.length - 1);
            }
          } catch (error) {
            expect(String(error)).toMatch(/injected|overlap|no region has/);
            expect(memory.regions).toEqual(before);
          }
          expect(mappedPages(dma)).toEqual(pagesOf(memory.regions));
        }
      } finally {
        memory.clear();
      }
      expect(dma.mapped.size).toBe(0);
    }),
    { numRuns: 300 },
  );
  closeFd(fd);
});
