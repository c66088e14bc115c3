import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { runVdpactl } from "./run-vdpactl.ts";

const DEVICES = "/sys/bus/pci/devices";
const attribute = (bdf: string, name: string) => Number(readFileSync(`${DEVICES}/${bdf}/${name}`, "utf8"));

/** Virtio devices of this machine, found in another way. */
function virtioDevices(): string[] {
  const all = (() => {
    try {
      return readdirSync(DEVICES).sort();
    } catch {
      return [];
    }
  })();
  return all.filter((bdf) => {
    const device = attribute(bdf, "device");
    return attribute(bdf, "vendor") === 0x1af4 && device >= 0x1000 && device <= 0x107f;
  });
}

test("JSON has one record for each virtio device of this machine", () => {
  const { code, out, err } = runVdpactl("probe", "--json");
  const records = JSON.parse(out) as { bdf: string; device_id: string }[];
  expect(code).toBe(0);
  expect(records.map(({ bdf }) => bdf)).toEqual(virtioDevices());
  for (const { bdf, device_id } of records)
    expect(Number.parseInt(device_id, 16)).toBe(attribute(bdf, "device"));
  expect(err).toBe(records.length === 0 ? "warning: this machine has no virtio PCI device\n" : "");
});

test("text has one line for each device, without headers in a pipe", () => {
  const { code, out } = runVdpactl("probe");
  expect(code).toBe(0);
  const lines = out.split("\n").filter(Boolean);
  expect(lines.map((line) => line.split(" ")[0] ?? "")).toEqual(virtioDevices());
});

test("a device's details begin with its address, also by its short name", () => {
  for (const bdf of virtioDevices()) {
    const { code, out } = runVdpactl("probe", bdf.replace(/^0000:/, ""));
    expect(code).toBe(0);
    expect(out).toStartWith(`${bdf} `);
  }
});

test("an address without a device", () => {
  expect(runVdpactl("probe", "ffff:ff:1f.7")).toMatchObject({
    code: 3,
    out: "",
    err: expect.stringContaining("there is no PCI device ffff:ff:1f.7"),
  });
});

test("something that is no address", () => {
  expect(runVdpactl("probe", "eth0")).toMatchObject({
    code: 2,
    err: expect.stringContaining('"eth0" is no PCI address'),
  });
});
