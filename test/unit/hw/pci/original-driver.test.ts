import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, statSync } from "node:fs";
import { originalDriver, rememberDriver, rememberedDevices } from "../../../../src/hw/pci/original-driver.ts";
import { FakeHost } from "./fake-host.ts";

const A = "0000:00:04.0";
const STATE = { driver: "virtio-pci", driver_override: undefined };

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

const modeOf = (path: string) => statSync(`${host.run}/${path}`).mode & 0o777;

test("what is remembered is read again, and none of it is nothing", () => {
  expect([rememberedDevices(host), originalDriver(A, host)]).toEqual([[], undefined]);
  rememberDriver(A, STATE, host);
  expect([rememberedDevices(host), originalDriver(A, host)]).toEqual([[A], STATE]);
});

test("it is everybody's to read, whatever the umask", () => {
  const umask = process.umask(0o077);
  try {
    rememberDriver(A, STATE, host);
  } finally {
    process.umask(umask);
  }
  const modes = ["vdpactl", "vdpactl/drivers", `vdpactl/drivers/${A}.json`].map(modeOf);
  expect(modes).toEqual([0o755, 0o755, 0o644]);
});

test("a folder that was for root alone is opened, the daemon's above it is left as it is", () => {
  mkdirSync(`${host.run}/vdpactl/drivers`, { recursive: true });
  for (const path of ["vdpactl/drivers", "vdpactl"]) chmodSync(`${host.run}/${path}`, 0o700);
  rememberDriver(A, STATE, host);
  expect([modeOf("vdpactl"), modeOf("vdpactl/drivers")]).toEqual([0o700, 0o755]);
});

test("it must be the names of drivers", () => {
  for (const text of ["{", "[]", '{"driver":"../../x","driver_override":null}', '{"driver":1}', "null"]) {
    host.file(`run/vdpactl/drivers/${A}.json`, text);
    expect(() => originalDriver(A, host)).toThrow(`cannot read what ${A} was bound to`);
  }
});
