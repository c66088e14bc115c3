import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { cString, libc } from "../../../src/hw/ffi/libc.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";

const fds: number[] = [];
afterEach(() => {
  for (const fd of fds.splice(0)) closeFd(fd);
});

function file(size: number, sealable = true): number {
  const fd = sealable ? memfd("log", size) : libc.memfd_create(cString("log"), 1);
  if (!sealable) expect(libc.ftruncate(fd, size)).toBe(0);
  fds.push(fd);
  return fd;
}

const bitsOf = (log: DirtyLog): number[] => {
  const { u8 } = log.memory.window(0);
  return Array.from({ length: log.size * 8 }, (_, page) => page).filter((p) => (u8[p >> 3]! >> (p & 7)) & 1);
};

for (const sealable of [true, false]) {
  test(`marks exactly the pages of a range (${sealable ? "in place" : "through the kernel"})`, () => {
    const marks = fc.array(
      fc.tuple(fc.nat(8 * 64 * 4096 - 1), fc.integer({ min: 1, max: 20_000 }), fc.boolean()),
      {
        maxLength: 20,
      },
    );
    fc.assert(
      fc.property(marks, (all) => {
        const log = DirtyLog.map(file(8192, sealable), 64n, 4096n);
        const expected = new Set<number>();
        let beyond = 0;
        for (const [gpa, length, own] of all) {
          if (own) log.markOwnWrite(gpa, length);
          else log.mark(gpa, length);
          for (let p = Math.floor(gpa / 4096); p <= Math.floor((gpa + length - 1) / 4096); p++) {
            if (p < 64 * 8) expected.add(p);
            else beyond++;
          }
        }
        expect(bitsOf(log)).toEqual([...expected].sort((a, b) => a - b));
        expect(log.failures).toBe(beyond);
        // The kernel does not tell whether a bit was set before.
        if (sealable) expect(log.marked).toBe(expected.size);
        else expect(log.marked).toBeGreaterThanOrEqual(expected.size);
        // Not a byte beyond the log, although the map goes on.
        expect(
          log.memory
            .window(0)
            .u8.subarray(64)
            .every((byte) => byte === 0),
        ).toBe(true);
        expect(log.stable).toBe(sealable);
        log.close();
      }),
      { numRuns: 60 },
    );
  });
}

test("a mark beyond the log is counted and explained, not skipped", () => {
  const log = DirtyLog.map(file(4096), 100n, 0n);
  for (const gpa of [100 * 8 * 4096, 2 ** 43, 2 ** 47, 2 ** 52]) log.mark(gpa, 1);
  log.markOwnWrite(100 * 8 * 4096 - 1, 2);
  expect(log.failures).toBe(5);
  expect(log.firstFailure).toBe("page 0x320 could not be marked dirty: the log ends with page 0x31f");
  expect(bitsOf(log)).toEqual([799]);
  log.close();
});

test("a mark of length 0 is none, and a mark after closing is a failure", () => {
  const log = DirtyLog.map(file(4096), 100n, 0n);
  log.mark(4096, 0);
  expect(bitsOf(log)).toEqual([]);
  log.close();
  log.mark(0, 1);
  log.markOwnWrite(0, 1);
  expect(log.failures).toBe(2);
});

test("a log whose file is truncated costs marks, not the process", () => {
  const fd = file(8192, false);
  const log = DirtyLog.map(fd, 8192n, 0n);
  expect(libc.ftruncate(fd, 4096)).toBe(0);
  log.mark(5 * 4096, 1);
  log.mark(4096 * 8 * 4096, 1);
  expect(log.failures).toBe(1);
  expect(log.firstFailure).toContain("the log's file was truncated");
  expect(log.memory.window(0).u8[0]).toBe(1 << 5);
  log.close();
});

test("bits that others set in the same byte survive", () => {
  const fd = file(4096);
  const logs = [DirtyLog.map(fd, 64n, 0n), DirtyLog.map(fd, 64n, 0n)] as const;
  logs[0].mark(3 * 4096, 1);
  logs[1].mark(4 * 4096, 1);
  logs[0].markOwnWrite(5 * 4096, 1);
  expect(bitsOf(logs[1])).toEqual([3, 4, 5]);
  for (const log of logs) log.close();
});
