// Installing the package, and what is on the machine afterwards.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { command } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";

const FOLDERS = ["/etc", "/usr", "/var", "/run/vdpactl"];

/** What dpkg and apt write down about every package, and caches. */
const NOT_THE_PACKAGE = /^\/var\/(lib\/(dpkg|apt|systemd)|cache|log|tmp)(\/|$)|^\/etc\/ld\.so\.cache$/;

/** All paths on which a package could leave something. */
export function filesOnDisk(): Set<string> {
  // Too many lines for the scenario's log.
  const { stdout } = Bun.spawnSync(["find", ...FOLDERS.filter((folder) => existsSync(folder))]);
  const paths = stdout.toString().trim().split("\n");
  return new Set(paths.filter((path) => !NOT_THE_PACKAGE.test(path)));
}

export function packageFile(): string {
  const name = readdirSync("/lab").find((entry) => entry.endsWith(".deb"));
  if (name === undefined) throw new Error("the lab carries no package");
  return join("/lab", name);
}

const WANTED = [
  "/usr/share/man/man1/vdpactl.1.gz",
  "/usr/share/man/man1/vdpactl-serve.1.gz",
  "/usr/share/bash-completion/completions/vdpactl",
  "/usr/share/zsh/vendor-completions/_vdpactl",
  "/usr/share/fish/vendor_completions.d/vdpactl.fish",
  "/usr/share/qemu/vhost-user/50-vdpactl.json",
];

export function apt(...args: string[]): Promise<string> {
  return command("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", ...args);
}

export async function checkInstalled(lab: Lab): Promise<void> {
  await apt("install", packageFile());
  lab.equal(
    "install: --version",
    (await command("vdpactl", "--version")).trim(),
    `vdpactl ${packageJson.version}`,
  );
  lab.equal(
    "install: dpkg finds every file as it was packed",
    await command("dpkg", "--verify", "vdpactl"),
    "",
  );
  lab.equal(
    "install: manual pages, completions and QEMU's discovery are missing",
    WANTED.filter((path) => !existsSync(path)),
    [],
  );
  lab.check("install: the runtime directory is made", existsSync("/run/vdpactl"), "/run/vdpactl");
  const units = await command("systemctl", "list-unit-files", "--no-legend", "vdpactl@*");
  lab.equal("install: systemd knows the units", units.match(/^\S+/gm)?.sort() ?? [], [
    "vdpactl@.service",
    "vdpactl@.socket",
  ]);
  const running = await command("systemctl", "list-units", "--all", "--no-legend", "vdpactl@*");
  lab.equal("install: nothing is started", running, "");
}
