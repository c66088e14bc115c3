import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { rememberDriver } from "../../src/hw/pci/original-driver.ts";
import { FakeHost } from "../unit/hw/pci/fake-host.ts";
import { vdpactlBinary } from "./binary.ts";

const TAKEN = "0000:02:00.0";
const OTHER = "0000:03:00.0";

let host: FakeHost;
beforeEach(() => {
  if (process.getuid!() !== 0) throw new Error("these tests must become another user: run them as root");
  host = new FakeHost();
  host.device(TAKEN, { driver: "vfio-pci", driver_override: "vfio-pci", group: 7 });
  host.device(OTHER, { driver: "virtio-pci", group: 8 });
  rememberDriver(TAKEN, { driver: "virtio-pci", driver_override: undefined }, host);
});
afterEach(() => host.remove());

/** Runs the compiled program as a user without rights, with the fake machine's /sys and /run in the real ones' place. */
function bindAsUser(...argv: readonly string[]) {
  const mounts = ["sys", "run"].map((name) => `mount --bind "${join(host.root, name)}" /${name}`);
  const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [
      ...["unshare", "--mount", "sh", "-ec", `${mounts.join("\n")}\nexec "$@"`, "sh"],
      ...[...user, vdpactlBinary(), "bind", ...argv],
    ],
    { stdout: "pipe", stderr: "pipe", timeout: 30_000 },
  );
  return { code: exitCode, out: stdout.toString(), err: stderr.toString() };
}

const DRIVERS_ARE_ROOTS = {
  code: 3,
  out: "",
  err: `error: drivers can not be changed
  why: this user may not write /sys/bus/pci/drivers_probe
  try: run it as root: sudo vdpactl bind …
`,
};

test("a dry run shows a user what root would do", () => {
  expect(bindAsUser("--dry-run", OTHER)).toMatchObject({
    code: 0,
    out: expect.stringContaining(`echo ${OTHER} > /sys/bus/pci/devices/${OTHER}/driver/unbind\n`),
  });
  expect(bindAsUser("--dry-run", "--restore")).toMatchObject({
    code: 0,
    out: expect.stringContaining(`echo ${TAKEN} > /sys/bus/pci/drivers/virtio-pci/bind\n`),
  });
});

test("binding and restoring is root's", () => {
  expect(bindAsUser(OTHER)).toEqual(DRIVERS_ARE_ROOTS);
  expect(bindAsUser("--restore")).toEqual(DRIVERS_ARE_ROOTS);
});

test.each([
  ["a device", [OTHER]],
  ["a dry run", ["--dry-run", OTHER]],
  ["restoring a device", ["--restore", TAKEN]],
  ["restoring all", ["--restore"]],
  ["a dry run of restoring all", ["--restore", "--dry-run"]],
])("%s: where a user may not read what is remembered, nothing is made up", (_, argv) => {
  chmodSync(`${host.run}/vdpactl/drivers`, 0o700);
  expect(bindAsUser(...argv)).toMatchObject({
    code: 3,
    out: "",
    err: expect.stringMatching(
      /^error: cannot read .*\n {2}why: this user may not read \/run\/vdpactl\/drivers.*\n {2}try: run it as root: sudo vdpactl bind …\n$/,
    ),
  });
});
