import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { elfMachine, hostArchitecture, MACHINES } from "../../scripts/package.d/machine.ts";
import { readRelease } from "../../scripts/package.d/release.ts";
import { type Executed, execute } from "./support/execute.ts";

const ROOT = join(import.meta.dir, "../..");
const NAME = `vdpactl_${packageJson.version}_${hostArchitecture}.deb`;

let folder: string;
let deb: string;
/** The package's files. */
let tree: string;

/** These take a while, beside which the other tests run. */
let again: Promise<string>;
let lintian: Promise<Executed>;

/** As scripts/package does, but compressed quickly. */
async function build(out: string): Promise<string> {
  const env = { DPKG_DEB_COMPRESSOR_TYPE: "gzip", DPKG_DEB_COMPRESSOR_LEVEL: "1" };
  await execute([join(ROOT, "scripts/package"), "--out", out], env);
  return join(out, NAME);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-package-"));
  deb = await build(join(folder, "one"));
  again = build(join(folder, "two"));
  lintian = execute(["lintian", "--fail-on", "none", "--allow-root", deb]);
  // Whoever awaits them below gets the error.
  for (const begun of [again, lintian]) begun.catch(() => {});
  tree = join(folder, "tree");
  await execute(["dpkg-deb", "--raw-extract", deb, tree]);
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the control file", async () => {
  const { out } = await execute(["dpkg-deb", "--field", deb]);
  expect(out).toContain(
    `Package: vdpactl\nVersion: ${packageJson.version}\nArchitecture: ${hostArchitecture}\n`,
  );
  expect(out).not.toMatch(/@[A-Z]+@/);
  expect(Number(/^Installed-Size: (\d+)$/m.exec(out)?.[1])).toBeGreaterThan(50_000);
});

test("files, their owner and modes", async () => {
  const { out } = await execute(["dpkg-deb", "--contents", deb]);
  const lines = out
    .trim()
    .split("\n")
    .map((line) => line.split(/\s+/));
  expect(lines.filter(([, owner]) => owner !== "root/root")).toEqual([]);
  const modes = Object.fromEntries(lines.map(([mode, , , , , path]) => [path!.slice(2), mode]));
  const program = "-rwxr-xr-x";
  const data = "-rw-r--r--";
  expect(modes).toMatchObject({
    "usr/bin/vdpactl": program,
    "usr/libexec/vdpactl/vhost-user-net": program,
    "usr/lib/systemd/system/vdpactl@.service": data,
    "usr/lib/systemd/system/vdpactl@.socket": data,
    "usr/lib/tmpfiles.d/vdpactl.conf": data,
    "usr/share/qemu/vhost-user/50-vdpactl.json": data,
    "usr/share/man/man1/vdpactl.1.gz": data,
    "usr/share/man/man1/vdpactl-migrate-to.1.gz": data,
    "usr/share/bash-completion/completions/vdpactl": data,
    "usr/share/zsh/vendor-completions/_vdpactl": data,
    "usr/share/fish/vendor_completions.d/vdpactl.fish": data,
    "usr/share/doc/vdpactl/examples/nic.toml": data,
    "etc/vdpactl/": "drwxr-xr-x",
  });
});

test("the sums are those of the files", async () => {
  await execute(["sh", "-c", 'cd "$1" && md5sum --quiet --check DEBIAN/md5sums', "sh", tree]);
});

test("the program is for this machine and runs", async () => {
  const program = join(tree, "usr/bin/vdpactl");
  expect(elfMachine(program)).toBe(MACHINES[hostArchitecture].elfMachine);
  expect((await execute([program, "--version"])).out).toBe(`vdpactl ${packageJson.version}\n`);
});

test("QEMU's discovery names a program that follows the conventions", async () => {
  const found = JSON.parse(readFileSync(join(tree, "usr/share/qemu/vhost-user/50-vdpactl.json"), "utf8"));
  expect(Object.keys(found).sort()).toEqual(["binary", "description", "type"]);
  const wrapper = readFileSync(join(tree, found.binary), "utf8").replace("/usr/bin/", `${tree}/usr/bin/`);
  const { out } = await execute(["sh", "-c", wrapper, "sh", "--print-capabilities"]);
  expect(JSON.parse(out)).toEqual({ type: found.type });
});

test("the units hold for systemd", async () => {
  const units = join(tree, "usr/lib/systemd/system");
  const service = join(folder, "vdpactl@.service");
  // What verify checks exists here, not below /usr.
  const text = readFileSync(join(units, "vdpactl@.service"), "utf8").replaceAll(
    "/usr/bin/",
    `${tree}/usr/bin/`,
  );
  await Bun.write(service, text.replaceAll(/^Documentation=.*\n/gm, ""));
  const { err } = await execute(["systemd-analyze", "verify", service]);
  expect(err.split("\n").filter((line) => line.includes("vdpactl"))).toEqual([]);
  const { out } = await execute([
    ...["systemd-analyze", "security", "--offline=true", "--threshold=45"],
    join(units, "vdpactl@.service"),
  ]);
  expect(out).toContain("Overall exposure level");
}, 60_000);

test("the example's keys are flags of serve", async () => {
  const example = join(tree, "usr/share/doc/vdpactl/examples/nic.toml");
  const program = join(tree, "usr/bin/vdpactl");
  // With keep-socket outside of a service, serve gets as far as asking for the manager.
  const { code, err } = await execute([program, "serve", "--config", example, "--sim"], {}, true);
  expect({ code, err }).toEqual({
    code: 2,
    err: expect.stringContaining("--keep-socket without a service manager"),
  });
});

test("all files bear the changelog's time", async () => {
  const { epoch } = readRelease(ROOT);
  for (const path of ["usr/bin/vdpactl", "usr/share/man/man1/vdpactl.1.gz", "etc/vdpactl"]) {
    expect(statSync(join(tree, path)).mtimeMs / 1000).toBe(epoch);
  }
  expect(existsSync(join(tree, "usr/share/doc/vdpactl/changelog.gz"))).toBe(true);
});

test("two builds are identical", async () => {
  expect(Bun.hash(readFileSync(await again))).toBe(Bun.hash(readFileSync(deb)));
}, 300_000);

test("lintian has nothing to say", async () => {
  expect((await lintian).out).toBe("");
}, 300_000);
