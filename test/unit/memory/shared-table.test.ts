import { afterEach, expect, test } from "bun:test";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { SharedTable, shareTable } from "../../../src/memory/shared-table.ts";
import { createRegions, qemuLayout } from "../../support/front-end/guest-memory.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";
import { FakeDma } from "./fake-dma.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function memoryOf() {
  const regions = createRegions(qemuLayout(1 << 21));
  const memory = new GuestMemory(new FakeDma(), { log: new CollectedLog() });
  memory.replaceAll(regions);
  cleanup.push(() => {
    memory.clear();
    for (const region of regions) region.close();
  });
  return { memory, regions };
}

test("finds every guest address where its owner finds it, and shows the same bytes", () => {
  const { memory } = memoryOf();
  const table = new SharedTable();
  table.replace(shareTable(memory));
  for (const { gpa, size } of memory.regions) {
    for (const at of [gpa, gpa + size - 4n]) {
      memory.write(at, new Uint8Array([1, 2, 3, 4]));
      const own = memory.locate(at, 4);
      const { memory: map, offset, stable } = table.locate(at, 4);
      expect([map.hva + offset, stable]).toEqual([own.memory.hva + own.offset, own.stable]);
      expect([...map.window(offset).u8.subarray(offset, offset + 4)]).toEqual([1, 2, 3, 4]);
    }
  }
  table.drop();
});

test("a range that crosses a region's end or lies nowhere is not found", () => {
  const { memory } = memoryOf();
  const table = new SharedTable();
  table.replace(shareTable(memory));
  const { gpa, size } = memory.regions.at(-1)!;
  expect(() => table.locate(gpa + size - 2n, 4)).toThrow("no memory region holds this range");
  expect(() => table.locate(0xdead_0000_0000n, 1)).toThrow("no memory region holds this range");
  table.drop();
});

test("once dropped or replaced its views are empty, and the owner's map is untouched", () => {
  const { memory } = memoryOf();
  const table = new SharedTable();
  const first = memory.regions[0]!;
  for (const letGo of [() => table.drop(), () => table.replace([])]) {
    table.replace(shareTable(memory));
    const located = table.locate(first.gpa, 8);
    const { u8 } = located.memory.window(located.offset);
    letGo();
    expect(u8.byteLength).toBe(0);
    expect(() => located.memory.window(0)).toThrow("unmapped");
    expect(table.regions).toEqual([]);
    expect(() => table.locate(first.gpa, 8)).toThrow("no memory region");
    expect(memory.read(first.gpa, 8)).toHaveLength(8);
  }
});
