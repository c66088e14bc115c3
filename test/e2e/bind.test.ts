import { expect, test } from "bun:test";
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
    err: "error: --unbind and --restore exclude each other\n",
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

test("a dry run lists the writes in JSON", () => {
  const [device] = JSON.parse(runVdpactl("probe", "--json").out) as { bdf: string; driver: string | null }[];
  if (!device) return;
  const { code, out } = runVdpactl(
    "bind",
    "--dry-run",
    "--force",
    "--driver",
    "pci-stub",
    "--json",
    device.bdf,
  );
  const { dry_run, steps } = JSON.parse(out) as {
    dry_run: boolean;
    steps: { kind: string; path?: string }[];
  };
  expect([code, dry_run]).toEqual([0, true]);
  expect(steps.at(-1)).toEqual(
    expect.objectContaining({ kind: "write", path: "/sys/bus/pci/drivers_probe", value: device.bdf }),
  );
});
