import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import type { RegionDescription } from "../../../src/memory/region.ts";
import { CollectedLog } from "./collected-log.ts";
import { FakeDma } from "./fake-dma.ts";

const MIB = 1 << 20;
const region = (gpa: bigint, size: number, uva: bigint, mmapOffset = 0n): RegionDescription => ({
  gpa,
  size: BigInt(size),
  uva,
  mmapOffset,
});
const LOW = region(0n, MIB, 0x7000_0000_0000n);
const HIGH = region(0x1_0000_0000n, 2 * MIB, 0x7100_0000_0000n);

let dma: FakeDma;
let log: CollectedLog;
let memory: GuestMemory;
let fd: number;

const openFds = () => readdirSync("/proc/self/fd").length;
const guestMaps = () => (readFileSync("/proc/self/maps", "utf8").match(/memfd:guest-ram/g) ?? []).length;

beforeEach(() => {
  dma = new FakeDma();
  log = new CollectedLog();
  memory = new GuestMemory(dma, { log });
  fd = memfd("guest-ram", 4 * MIB);
});

afterEach(() => {
  memory.clear();
  closeFd(fd);
  expect(dma.mapped.size).toBe(0);
  expect(guestMaps()).toBe(0);
});

describe("tables", () => {
  test("maps every region at IOVA = GPA and keeps no fd", () => {
    const before = openFds();
    memory.replaceAll([
      { description: LOW, fd },
      { description: HIGH, fd },
    ]);
    expect(openFds()).toBe(before);
    expect(dma.ranges()).toEqual(["0-100000", "100000000-100200000"]);
    expect(memory.bytes).toBe(BigInt(3 * MIB));
    expect(memory.lastGpa).toBe(0x1_001f_ffffn);
  });

  test("leaves unchanged regions alone, whatever the number of the fd", () => {
    memory.replaceAll([
      { description: LOW, fd },
      { description: HIGH, fd },
    ]);
    const calls = dma.calls;
    const again = openSync(`/proc/self/fd/${fd}`, "r+");
    for (let i = 0; i < 1000; i++) {
      memory.replaceAll([
        { description: LOW, fd: again },
        { description: HIGH, fd: again },
      ]);
    }
    closeFd(again);
    expect(dma.calls).toBe(calls);
    memory.replaceAll([{ description: HIGH, fd }]);
    expect(dma.calls).toBe(calls + 1);
    expect(dma.ranges()).toEqual(["100000000-100200000"]);
  });

  test("maps the same addresses anew when another file is behind them", () => {
    memory.replaceAll([{ description: LOW, fd }]);
    const other = memfd("guest-ram", MIB);
    memory.replaceAll([{ description: LOW, fd: other }]);
    closeFd(other);
    expect(dma.calls).toBe(3);
    expect(guestMaps()).toBe(1);
  });

  test("maps in chunks of a GiB, with progress, and stops between them", () => {
    const sparse = memfd("guest-ram", 5 * 1024 * MIB);
    const seen: bigint[] = [];
    let stop = false;
    const large = new GuestMemory(dma, {
      log,
      onProgress: (done) => {
        seen.push(done >> 20n);
        stop ||= done >= 2n << 30n;
      },
      shouldStop: () => stop,
    });
    const description = region(0x1_0000_0000n, 5 * 1024 * MIB, 0x7000_0000_0000n);
    expect(() => large.add({ description, fd: sparse })).toThrow(
      "stopped while guest memory was being mapped",
    );
    closeFd(sparse);
    expect(seen).toEqual([0n, 1024n, 2048n]);
    expect(dma.mapped.size).toBe(0);
    expect(large.count).toBe(0);
  });

  test("removes by GPA, UVA and size only", () => {
    memory.add({ description: LOW, fd });
    for (const wrong of [
      { ...LOW, gpa: 4096n },
      { ...LOW, uva: 4096n },
      { ...LOW, size: 4096n },
    ]) {
      expect(() => memory.remove(wrong)).toThrow("no region has this GPA");
    }
    memory.remove({ ...LOW, mmapOffset: 77n });
    expect(memory.count).toBe(0);
    expect(() => memory.remove(LOW)).toThrow("there are 0");
  });

  test("goes back to the old table when mapping the new one fails half-way", () => {
    const table = [
      { description: LOW, fd },
      { description: HIGH, fd },
    ];
    memory.replaceAll(table);
    const before = dma.ranges();
    // The first overlaps LOW, which must make room and come back.
    const next = [
      { description: region(0x8_0000n, MIB, 0x7200_0000_0000n), fd },
      { description: region(0x2_0000_0000n, MIB, 0x7300_0000_0000n), fd },
    ];
    dma.mapsLeft = 1;
    expect(() => memory.replaceAll(next)).toThrow("no room for another mapping");
    // The injected failure also hit LOW's way back: that is said, and the table tells the truth.
    expect(log.lines).toEqual([expect.stringContaining("error memory region GPA 0x0–0xfffff")]);
    expect(memory.regions).toEqual([HIGH]);
    dma.mapsLeft = Number.POSITIVE_INFINITY;
    memory.replaceAll(table);
    expect(dma.ranges()).toEqual(before);
  });
});

describe("refused", () => {
  const cases: [string, RegionDescription[], string][] = [
    ["size 0", [{ ...LOW, size: 0n }], "its size is 0"],
    [
      "GPA wrap",
      [{ ...LOW, gpa: (1n << 64n) - 4096n }],
      "its GPA 0xfffffffffffff000 + size 0x100000 wraps around",
    ],
    ["UVA wrap", [{ ...LOW, uva: (1n << 64n) - 4096n }], "its UVA"],
    ["offset overflow", [{ ...LOW, mmapOffset: (1n << 64n) - 4096n }], "its mmap offset"],
    ["unaligned GPA", [{ ...LOW, gpa: 1n }], "its GPA 0x1 is not a multiple of 4096"],
    ["unaligned UVA", [{ ...LOW, uva: 1n }], "its UVA 0x1 is not"],
    ["unaligned size", [{ ...LOW, size: 4097n }], "its size 0x1001 is not"],
    ["unaligned offset", [{ ...LOW, mmapOffset: 512n }], "its mmap offset 0x200 is not"],
    ["beyond its file", [{ ...LOW, mmapOffset: BigInt(4 * MIB) }], "beyond the end of its file of 0x400000"],
    [
      "overlapping guest addresses",
      [LOW, { ...HIGH, gpa: 0xff000n }],
      "GPA 0x0–0xfffff and GPA 0xff000–0x2fefff: their guest addresses overlap at GPA 0xff000",
    ],
    ["overlapping user addresses", [LOW, { ...HIGH, uva: LOW.uva }], "their user addresses overlap"],
    [
      "a reserved range",
      [{ ...LOW, gpa: 0xfee00000n }],
      "it lies over 0xfee00000–0xfeefffff, which the IOMMU reserves",
    ],
    [
      "an end in a reserved range",
      [{ ...LOW, gpa: 0xfed80000n }],
      "GPA 0xfed80000–0xfee7ffff: it lies over 0xfee00000–0xfeefffff",
    ],
    ["beyond the width", [{ ...LOW, gpa: 1n << 48n }], "it needs 49 address bits and the IOMMU has 48"],
  ];
  test.each(cases)("%s", (_name, table, message) => {
    memory.replaceAll([{ description: LOW, fd }]);
    const next = table.map((description) => ({ description, fd }));
    expect(() => memory.replaceAll(next)).toThrow(message);
    expect(memory.regions).toEqual([LOW]);
    expect(dma.ranges()).toEqual(["0-100000"]);
  });

  test("process addresses as guest addresses beyond the IOMMU are explained", () => {
    const narrow = new GuestMemory(new FakeDma([{ first: 0n, last: (1n << 39n) - 1n }]), { log });
    const uva = 0x7f00_0000_0000n;
    expect(() => narrow.add({ description: region(uva, MIB, uva), fd })).toThrow(
      "uses its process addresses as guest addresses, as DPDK virtio-user does, which needs 47 bits; the IOMMU has 39",
    );
  });

  test("an fd that is not open read-write", () => {
    const readOnly = openSync(`/proc/self/fd/${fd}`, "r");
    expect(() => memory.add({ description: LOW, fd: readOnly })).toThrow("not open read-write");
    closeFd(readOnly);
  });

  test("an fd that is no memory file", () => {
    const directory = mkdtempSync("/tmp/vdpactl-test-");
    const fds = [openSync(directory, "r"), openSync("/proc/self/ns/net", "r")];
    expect(() => memory.add({ description: LOW, fd: fds[0]! })).toThrow(`no memory file but ${directory}`);
    for (const other of fds) {
      expect(() => memory.add({ description: LOW, fd: other })).toThrow("memory region GPA 0x0–0xfffff");
      closeFd(other);
    }
    rmSync(directory, { recursive: true });
  });

  test("a region where one of our own buffers is", () => {
    memory.reserve(HIGH.gpa + 4096n, HIGH.gpa + 8191n);
    expect(() => memory.add({ description: HIGH, fd })).toThrow("it meets our own DMA buffer at 0x100001000");
    memory.release(HIGH.gpa + 4096n);
    memory.add({ description: HIGH, fd });
  });
});

describe("access", () => {
  test("translates UVA to GPA within one region", () => {
    memory.replaceAll([
      { description: LOW, fd },
      { description: HIGH, fd },
    ]);
    expect(memory.uvaToGpa(HIGH.uva + 16n, 4096)).toBe(HIGH.gpa + 16n);
    expect(() => memory.uvaToGpa(HIGH.uva + HIGH.size - 1n, 2)).toThrow(
      "crosses the end of the memory region",
    );
    expect(() => memory.uvaToGpa(LOW.uva - 1n, 1)).toThrow("no memory region holds this address");
  });

  test("reads and writes what the front-end sees, at the region's offset in its file", () => {
    const page = 4096n;
    memory.add({ description: region(0x10_0000n, MIB, LOW.uva, page), fd });
    memory.add({ description: region(0n, 4096, HIGH.uva), fd });
    memory.writeU16(0x10_0000n, 0xabcd);
    memory.write(0x10_0002n, new Uint8Array([1, 2, 3]));
    expect([...memory.read(0x10_0000n, 5)]).toEqual([0xcd, 0xab, 1, 2, 3]);
    const { memory: map, offset } = memory.locate(0x10_0000n, 2);
    expect(map.window(offset).u16[offset >> 1]).toBe(0xabcd);
    expect(memory.readU16(0n)).toBe(0);
    expect(() => memory.read(0x20_0000n - 1n, 2)).toThrow("no memory region holds this range");
  });

  test("a truncated file gives an error where a plain access would end the process", () => {
    const directory = mkdtempSync("/tmp/vdpactl-test-");
    const file = openSync(`${directory}/ram`, "w+");
    ftruncateSync(file, 4 * MIB);
    memory.add({ description: LOW, fd: file });
    expect(memory.locate(0n, 1).stable).toBe(false);
    ftruncateSync(file, 4096);
    expect(memory.readU16(0n)).toBe(0);
    expect(() => memory.readU16(8192n)).toThrow("the front-end has truncated the file behind it");
    expect(() => memory.writeU16(8192n, 1)).toThrow("truncated");
    closeFd(file);
    rmSync(directory, { recursive: true });
  });

  test("a sealable file is sealed and so stable", () => {
    memory.add({ description: LOW, fd });
    expect(memory.locate(0n, 1).stable).toBe(true);
    expect(() => ftruncateSync(fd, 0)).toThrow();
  });
});

describe("before regions are unmapped", () => {
  const tables = () => ({ both: [LOW, HIGH].map((description) => ({ description, fd })) });

  test("whoever uses them elsewhere is told while they are still there, and of the new table afterwards", () => {
    const events: string[] = [];
    memory.replaceAll(tables().both);
    memory.beforeUnmap(() => events.push(`before ${guestMaps()} ${memory.count}`));
    memory.watch(() => events.push(`after ${guestMaps()} ${memory.count}`));
    const third = region(0x2_0000_0000n, MIB, 0x7200_0000_0000n);
    memory.add({ description: third, fd });
    expect(events).toEqual(["after 3 3"]);
    memory.remove(third);
    expect(events.splice(0)).toEqual(["after 3 3", "before 3 3", "after 2 2"]);
    memory.replaceAll([{ description: LOW, fd }]);
    expect(events.splice(0)).toEqual(["before 2 2", "after 1 1"]);
    memory.clear();
    expect(events).toEqual(["before 1 1", "after 0 0"]);
  });

  test("one who can not let go keeps the table as it is", () => {
    memory.replaceAll(tables().both);
    let told = 0;
    const unwatch = [
      memory.beforeUnmap(() => {
        throw new Error("still in use");
      }),
      memory.watch(() => told++),
    ];
    const other = region(0x2_0000_0000n, MIB, 0x7200_0000_0000n);
    const changes = [
      () => memory.remove(HIGH),
      () => memory.clear(),
      () => memory.replaceAll([{ description: other, fd }]),
    ];
    for (const change of changes) expect(change).toThrow("still in use");
    expect(told).toBe(3);
    expect(memory.regions).toEqual([LOW, HIGH]);
    expect(guestMaps()).toBe(2);
    expect(dma.ranges()).toEqual(["0-100000", "100000000-100200000"]);
    for (const end of unwatch) end();
  });

  test("a table that fails to be mapped is followed by the one that stays", () => {
    memory.replaceAll(tables().both);
    const events: number[] = [];
    memory.beforeUnmap(() => events.push(-1));
    memory.watch(() => events.push(memory.count));
    dma.mapsLeft = 0;
    const other = region(0x2_0000_0000n, MIB, 0x7200_0000_0000n);
    expect(() =>
      memory.replaceAll([
        { description: LOW, fd },
        { description: other, fd },
      ]),
    ).toThrow("no room");
    expect(events).toEqual([-1, 2]);
    dma.mapsLeft = Number.POSITIVE_INFINITY;
  });
});
