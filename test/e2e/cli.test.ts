import { expect, test } from "bun:test";
import packageJson from "../../package.json" with { type: "json" };
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../src/hw/ffi/unix-socket.ts";
import { vdpactlBinary } from "./binary.ts";
import { runVdpactl } from "./run-vdpactl.ts";

test("the version", () => {
  expect(runVdpactl("--version")).toEqual({ code: 0, out: `vdpactl ${packageJson.version}\n`, err: "" });
});

test("the help names every verb", () => {
  const { code, out, err } = runVdpactl("--help");
  expect([code, err]).toEqual([0, ""]);
  for (const verb of ["probe", "bind", "serve", "stats", "migrate"]) expect(out).toContain(` ${verb} `);
});

test.each(["probe", "bind", "serve", "stats", "migrate", "migrate cancel"])("help of %p", (verb) => {
  const { code, out, err } = runVdpactl(...verb.split(" "), "--help");
  expect([code, err]).toEqual([0, ""]);
  expect(out).toContain(`USAGE vdpactl ${verb}`);
});

test("a typo changes nothing and is explained", () => {
  expect(runVdpactl("bind", "--dryrun", "00:04.0")).toEqual({
    code: 2,
    out: "",
    err: "error: unknown flag --dryrun\n  why: did you mean --dry-run?\n  try: vdpactl bind --help\n",
  });
});

test("a reader that goes away is no error", () => {
  const [ours, theirs] = unixSocketPair();
  closeFd(ours);
  try {
    const { exitCode, stderr } = Bun.spawnSync([vdpactlBinary(), "--help"], {
      stdout: theirs,
      stderr: "pipe",
    });
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  } finally {
    closeFd(theirs);
  }
});

test("a bunfig.toml of the current directory is not executed", async () => {
  const folder = (await Bun.$`mktemp -d`.text()).trim();
  try {
    await Bun.write(`${folder}/bunfig.toml`, 'preload = ["./preload.ts"]\n');
    await Bun.write(`${folder}/preload.ts`, 'console.log("preloaded");\n');
    const { stdout } = Bun.spawnSync([vdpactlBinary(), "--version"], { cwd: folder, stdout: "pipe" });
    expect(stdout.toString()).toBe(`vdpactl ${packageJson.version}\n`);
  } finally {
    await Bun.$`rm -rf ${folder}`;
  }
});
