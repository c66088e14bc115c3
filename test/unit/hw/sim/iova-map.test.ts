import { afterEach, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { closeFd, memfd } from "../../../../src/hw/ffi/fd.ts";
import { libc } from "../../../../src/hw/ffi/libc.ts";
import { MappedMemory } from "../../../../src/hw/ffi/mmap.ts";
import { DmaPort } from "../../../../src/hw/sim/dma-port.ts";
import { IovaMap } from "../../../../src/hw/sim/iova-map.ts";
import { LocalMemory } from "../../../../src/hw/sim/local-memory.ts";
import { simConfig } from "../../../../src/hw/sim/sim-options.ts";

const PAGE = 4096;
const SIZE = 16 * PAGE;
let fd: number;
let memory: MappedMemory;
let map: IovaMap;

beforeEach(() => {
  fd = memfd("dma", SIZE);
  memory = MappedMemory.map(fd, SIZE);
  map = new IovaMap(simConfig().usable);
});
afterEach(() => {
  map.unmapAll();
  memory.unmap();
  closeFd(fd);
});

const at = (iova: bigint, size = PAGE, hva = memory.hva) => map.map(iova, { hva, size, stable: true });

test("refuses what an IOMMU refuses, by errno", () => {
  at(0x4000n, 2 * PAGE);
  expect(() => at(0x5000n)).toThrow("EEXIST");
  expect(() => at(0x3000n, 2 * PAGE)).toThrow("EEXIST");
  expect(() => at(0x3000n, 4 * PAGE)).toThrow("EEXIST");
  expect(() => at(0x800n)).toThrow("EINVAL");
  expect(() => at(0x8000n, 100)).toThrow("EINVAL");
  expect(() => at(0x8000n, 0)).toThrow("EINVAL");
  expect(() => at(0x8000n, PAGE, memory.hva + 8)).toThrow("EINVAL");
  expect(() => at(0xfee0_0000n)).toThrow("usable");
  expect(() => at(0xfedf_f000n, 2 * PAGE)).toThrow("usable");
  expect(() => at(0xffff_ffff_f000n, 2 * PAGE)).toThrow("usable");
  expect(() => at(1n << 63n)).toThrow("usable");
  at(0xffff_ffff_f000n);
  at(0xfedf_f000n);
  at(0xfef0_0000n);
  expect(map.mappings).toBe(4);
});

test("unmaps exactly one earlier map", () => {
  at(0x4000n, 2 * PAGE);
  expect(() => map.unmap(0x4000n, PAGE)).toThrow("ENOENT");
  expect(() => map.unmap(0x5000n, PAGE)).toThrow("ENOENT");
  map.unmap(0x4000n, 2 * PAGE);
  expect(() => map.unmap(0x4000n, 2 * PAGE)).toThrow("ENOENT");
  at(0x4000n, 3 * PAGE);
});

test("finds what a model finds, after any sequence of maps and unmaps", () => {
  const step = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 1, max: 4 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const owner = new Array<number>(32).fill(-1);
      for (const [page, pages, add] of steps) {
        const iova = BigInt(page * PAGE);
        const range = owner.slice(page, page + pages);
        if (add) {
          const free = range.every((o) => o < 0);
          if (free) owner.fill(page, page, page + pages);
          const action = () => at(iova, pages * PAGE);
          if (free) action();
          else expect(action).toThrow("EEXIST");
        } else {
          const exact = range.every((o) => o === page) && owner[page + pages] !== page;
          const action = () => map.unmap(iova, pages * PAGE);
          if (exact) {
            action();
            owner.fill(-1, page, page + pages);
          } else expect(action).toThrow("ENOENT");
        }
      }
      for (const [page, o] of owner.entries()) {
        if (o < 0) expect(() => map.find(page * PAGE + 5)).toThrow("nothing is mapped");
        else expect(map.find(page * PAGE + 5).first).toBe(o * PAGE);
      }
      map.unmapAll();
    }),
  );
});

test("stable and unstable memory give the same bytes, across neighbouring maps", () => {
  const local = new LocalMemory(4 * PAGE);
  const back = new LocalMemory(4 * PAGE);
  const access = fc.tuple(
    fc.integer({ min: 0, max: 3 * PAGE }),
    fc.integer({ min: 1, max: PAGE }),
    fc.integer({ min: 0, max: 64 }),
  );
  // Two pages that lie the other way round in memory than in the device's addresses.
  const pages = (stable: boolean) => {
    map.map(0x1_0000_0000n, { hva: memory.hva + 2 * PAGE, size: 2 * PAGE, stable });
    map.map(0x1_0000_2000n, { hva: memory.hva, size: 2 * PAGE, stable: !stable });
  };
  fc.assert(
    fc.property(fc.boolean(), fc.array(access, { maxLength: 10 }), (stable, accesses) => {
      pages(stable);
      const port = new DmaPort(map);
      const model = new Uint8Array(4 * PAGE);
      memory.window(0).u8.fill(0);
      for (const [i, [offset, length, from]] of accesses.entries()) {
        local.u8.fill(i + 1, from, from + length);
        port.write(0x1_0000_0000 + offset, local, from, length);
        model.fill(i + 1, offset, offset + length);
      }
      port.read(0x1_0000_0000, back, 0, 4 * PAGE);
      expect(Buffer.compare(back.u8, model)).toBe(0);
      map.unmapAll();
    }),
  );
});

test("a descriptor at any address is read right, across neighbouring maps too, and none beyond the last", () => {
  const local = new LocalMemory(16);
  local.u32.set([0x0102_0304, 0x0506_0708, 0x090a_0b0c, 0x0d0e_0f10]);
  for (const stable of [true, false]) {
    map.map(0x1_0000_0000n, { hva: memory.hva + 2 * PAGE, size: PAGE, stable });
    map.map(0x1_0000_1000n, { hva: memory.hva, size: PAGE, stable });
    const port = new DmaPort(map);
    for (const offset of [0, 16, 1, 6, 8, PAGE - 16, PAGE - 15, PAGE - 8, PAGE - 1, PAGE, 2 * PAGE - 16]) {
      port.write(0x1_0000_0000 + offset, local, 0, 16);
      port.readDescriptor(0x1_0000_0000 + offset);
      expect([port.d0, port.d1, port.d2, port.d3]).toEqual([...local.u32]);
    }
    expect(() => port.readDescriptor(0x1_0000_0000 + 2 * PAGE - 8)).toThrow("nothing is mapped");
    map.unmapAll();
  }
});

test("a file truncated by its owner is a fault, not a crash", () => {
  map.map(0n, { hva: memory.hva, size: SIZE, stable: false });
  const port = new DmaPort(map);
  port.writeU16(0x8000, 0x1234);
  expect(port.acquireU16(0x8000)).toBe(0x1234);
  expect(libc.ftruncate(fd, PAGE)).toBe(0);
  expect(() => port.acquireU16(0x8000)).toThrow("gone");
  expect(() => port.writeU16(0x8000, 1)).toThrow("gone");
  expect(() => port.readDescriptor(0x8000)).toThrow("gone");
  expect(() => port.write(PAGE - 8, new LocalMemory(16), 0, 16)).toThrow("gone");
  port.writeU16(0, 7);
  expect(port.readU16(0)).toBe(7);
});

test("a port forgets memory that was unmapped", () => {
  at(0x4000n);
  const port = new DmaPort(map);
  port.writeU16(0x4000, 5);
  map.unmap(0x4000n, PAGE);
  expect(() => port.writeU16(0x4000, 6)).toThrow("nothing is mapped");
  expect(memory.window(0).u16[0]).toBe(5);
});

test("memory of more than 2 GiB is one map", () => {
  const size = 5 * 2 ** 30;
  const large = memfd("large", size);
  const mapped = MappedMemory.map(large, size);
  closeFd(large);
  map.map(0x1_0000_0000n, { hva: mapped.hva, size, stable: true });
  const port = new DmaPort(map);
  const local = new LocalMemory(64);
  const back = new LocalMemory(64);
  for (const boundary of [2 ** 31, 2 ** 32]) {
    local.u8.fill(boundary === 2 ** 31 ? 1 : 2);
    port.write(0x1_0000_0000 + boundary - 32, local, 0, 64);
    port.read(0x1_0000_0000 + boundary - 32, back, 0, 64);
    expect(back.u8).toEqual(local.u8);
    expect(mapped.window(boundary).u8[31]).toBe(local.u8[0]!);
  }
  map.unmap(0x1_0000_0000n, size);
  mapped.unmap();
});
