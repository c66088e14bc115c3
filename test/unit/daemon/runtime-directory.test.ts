import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  checkRuntimeDirectory,
  controlSockets,
  makeRuntimeDirectory,
  runtimeDirectory,
} from "../../../src/daemon/control/runtime-directory.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-run-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("where it is", () => {
  expect(runtimeDirectory("/given", { uid: 0, env: {} })).toBe("/given");
  expect(runtimeDirectory(undefined, { uid: 0, env: { XDG_RUNTIME_DIR: folder } })).toBe("/run/vdpactl");
  expect(runtimeDirectory(undefined, { uid: 1, env: { XDG_RUNTIME_DIR: folder } })).toBe(
    join(folder, "vdpactl"),
  );
  expect(() => runtimeDirectory(undefined, { uid: 1, env: { XDG_RUNTIME_DIR: join(folder, "no") } })).toThrow(
    /no directory for control sockets/,
  );
});

test("it is made for one user alone, with those above it", () => {
  const path = join(folder, "a/b");
  makeRuntimeDirectory(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  makeRuntimeDirectory(path);
});

test("one that others may write to, or that is another user's, is refused", () => {
  const path = join(folder, "x");
  mkdirSync(path);
  const user = { uid: process.getuid!(), env: {} };
  for (const mode of [0o700, 0o711, 0o755]) {
    chmodSync(path, mode);
    checkRuntimeDirectory(path, user);
  }
  for (const mode of [0o720, 0o702, 0o777]) {
    chmodSync(path, mode);
    expect(() => checkRuntimeDirectory(path, user)).toThrow(/others may write to it/);
  }
  writeFileSync(join(folder, "file"), "");
  expect(() => checkRuntimeDirectory(join(folder, "file"), user)).toThrow(/it is no directory/);
  expect(() => makeRuntimeDirectory(join(folder, "file/x"))).toThrow(/can not be made/);
});

test("sockets are named after their process; other files do not matter", () => {
  for (const name of ["20.sock", "3.sock", ".4.new", "05.sock", "x.sock", "7.sock.old", "drivers"]) {
    writeFileSync(join(folder, name), "");
  }
  expect(controlSockets(folder).map(({ pid }) => pid)).toEqual([3, 20]);
  expect(controlSockets(join(folder, "missing"))).toEqual([]);
});
