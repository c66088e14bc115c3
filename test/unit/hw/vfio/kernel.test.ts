import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { holdersOf } from "../../../../src/hw/vfio/host.ts";
import { systemKernel } from "../../../../src/hw/vfio/kernel.ts";

let folder: string;
let file: string;
let fd: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-kernel-"));
  file = join(folder, "file");
  writeFileSync(file, " text \n");
  fd = systemKernel.open(file);
});

afterEach(() => {
  systemKernel.close(fd);
  rmSync(folder, { recursive: true });
});

test("reads and writes exactly what was asked for", () => {
  systemKernel.pwrite(fd, Uint8Array.of(1, 2, 3, 4), 4096, file);
  const bytes = new Uint8Array(2);
  systemKernel.pread(fd, bytes, 4097, file);
  expect([...bytes]).toEqual([2, 3]);
  expect(() => systemKernel.pread(fd, new Uint8Array(4), 4098, file)).toThrow("2 of 4 bytes");
});

test("an ioctl that an fd does not know is a SysError with its name", () => {
  for (const argument of [0, 3, Int32Array.of(1), new Uint8Array(8)]) {
    expect(() => systemKernel.ioctl(fd, "VFIO_CHECK_EXTENSION", argument, file)).toThrow(
      `ioctl VFIO_CHECK_EXTENSION ${file}`,
    );
  }
});

test("what can not be read is not there", () => {
  symlinkSync("../some/driver", join(folder, "driver"));
  expect(systemKernel.linkName(join(folder, "driver"))).toBe("driver");
  expect(systemKernel.linkName(join(folder, "none"))).toBeUndefined();
  expect(systemKernel.text(file)).toBe("text");
  expect(systemKernel.text(join(folder, "none"))).toBeUndefined();
  expect(systemKernel.list(folder).sort()).toEqual(["driver", "file"]);
  expect(systemKernel.list(join(folder, "none"))).toEqual([]);
});

test("knows the page size", () => {
  expect(systemKernel.pageSize % 4096).toBe(0);
  expect(Math.log2(systemKernel.pageSize) % 1).toBe(0);
});

test("finds who holds a file open", () => {
  expect(holdersOf(systemKernel, [file])).toHaveLength(1);
  expect(holdersOf(systemKernel, [file])[0]).toContain(`(pid ${process.pid})`);
  expect(holdersOf(systemKernel, [file], process.pid)).toEqual([]);
});
