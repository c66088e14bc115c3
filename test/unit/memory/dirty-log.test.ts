import { expect, test } from "bun:test";
import { openSync } from "node:fs";
import { createEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";

test("maps the bitmap at its offset", () => {
  const fd = memfd("log", 3 * 4096);
  const log = DirtyLog.map(fd, 100n, 4096n);
  const whole = DirtyLog.map(fd, 8192n, 0n);
  log.memory.window(0).u8[7] = 0x55;
  expect(whole.memory.window(0).u8[4096 + 7]).toBe(0x55);
  expect(log.covers(100n * 8n * 4096n - 1n)).toBe(true);
  expect(log.covers(100n * 8n * 4096n)).toBe(false);
  log.close();
  whole.close();
  closeFd(fd);
});

test.each([
  ["size 0", 0n, 0n, "its size is 0"],
  ["beyond its file", 8193n, 0n, "beyond the end of its file"],
  ["an offset beyond its file", 1n, 8192n, "beyond the end of its file"],
  ["overflow", (1n << 64n) - 4096n, 8192n, "overflow"],
  ["an unaligned offset", 8n, 8n, "not a multiple of 4096"],
])("refuses %s", (_name, size, offset, message) => {
  const fd = memfd("log", 8192);
  expect(() => DirtyLog.map(fd, size, offset)).toThrow(message);
  closeFd(fd);
});

test("refuses fds that can not hold a log", () => {
  const fd = memfd("log", 8192);
  const readOnly = openSync(`/proc/self/fd/${fd}`, "r");
  const eventfd = createEventfd();
  expect(() => DirtyLog.map(readOnly, 8n, 0n)).toThrow("not open read-write");
  expect(() => DirtyLog.map(eventfd, 8n, 0n)).toThrow("no memory file but anon_inode:[eventfd]");
  for (const each of [fd, readOnly, eventfd]) closeFd(each);
});
