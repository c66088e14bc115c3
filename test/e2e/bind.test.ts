import { expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { runVdpactl } from "./run-vdpactl.ts";

// Nothing here may change a driver of the machine it runs on: what is bound for real is the lab's (test/lab).
test("nothing to bind", () => {
  expect(runVdpactl("bind")).toMatchObject({
    code: 2,
    err: expect.stringContaining("which device is to be bound?"),
  });
});

test("flags that exclude each other", () => {
  expect(runVdpactl("bind", "--dry-run", "--unbind", "--restore", "00:04.0")).toMatchObject({
    code: 2,
    err: "error: --unbind and --restore exclude each other\n  try: vdpactl bind --help\n",
  });
});

test("a device that does not exist", () => {
  expect(runVdpactl("bind", "--dry-run", "ffff:ff:1f.7")).toMatchObject({ code: 3, out: "" });
});

test("an owner that does not exist", () => {
  expect(runVdpactl("bind", "--dry-run", "--owner", "no-such-user-here", "00:04.0")).toMatchObject({
    code: 2,
    err: expect.stringContaining('--owner: no such owner: "no-such-user-here"'),
  });
});

const SYS = "/sys/bus/pci/devices";

/** What a device's driver is, by the kernel. */
function driverOf(bdf: string): string | undefined {
  try {
    return readlinkSync(`${SYS}/${bdf}/driver`);
  } catch {
    return undefined;
  }
}

test("a dry run lists the writes in JSON, and does none of them", () => {
  // Any device but a bridge will do: nothing is done to it.
  const bdf = readdirSync(SYS).find(
    (name) => !readFileSync(`${SYS}/${name}/class`, "utf8").startsWith("0x06"),
  );
  const chosen = bdf ?? "0000:ff:1f.7";
  const before = driverOf(chosen);
  const { code, out } = runVdpactl("bind", "--dry-run", "--force", "--driver", "pci-stub", "--json", chosen);
  expect(driverOf(chosen)).toBe(before);
  // A machine without PCI devices has nothing to list.
  if (!bdf) return expect([code, out]).toEqual([3, ""]);
  const { dry_run, steps } = JSON.parse(out) as {
    dry_run: boolean;
    steps: { kind: string; path?: string }[];
  };
  expect([code, dry_run]).toEqual([0, true]);
  expect(steps.at(-1)).toEqual(
    expect.objectContaining({ kind: "write", path: "/sys/bus/pci/drivers_probe", value: bdf }),
  );
});
