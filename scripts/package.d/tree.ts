import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { VERBS } from "../../src/commands/verbs.ts";
import { generatedDocuments } from "./documents.ts";
import type { Release } from "./release.ts";

/** Files of packaging/ and where they go. */
const INSTALLED: readonly (readonly [string, string, number])[] = [
  ["systemd/vdpactl@.service", "usr/lib/systemd/system/vdpactl@.service", 0o644],
  ["systemd/vdpactl@.socket", "usr/lib/systemd/system/vdpactl@.socket", 0o644],
  ["systemd/tmpfiles.conf", "usr/lib/tmpfiles.d/vdpactl.conf", 0o644],
  ["qemu/50-vdpactl.json", "usr/share/qemu/vhost-user/50-vdpactl.json", 0o644],
  ["qemu/vhost-user-net", "usr/libexec/vdpactl/vhost-user-net", 0o755],
  ["examples/nic.toml", "usr/share/doc/vdpactl/examples/nic.toml", 0o644],
  ["debian/copyright", "usr/share/doc/vdpactl/copyright", 0o644],
  ["debian/lintian-overrides", "usr/share/lintian/overrides/vdpactl", 0o644],
];

/** Lays the files of a package out below `tree`, all but the program itself. */
export async function layOut(root: string, tree: string, release: Release): Promise<void> {
  const packaging = join(root, "packaging");
  for (const [from, to, mode] of INSTALLED) {
    mkdirSync(dirname(join(tree, to)), { recursive: true });
    copyFileSync(join(packaging, from), join(tree, to));
    chmodSync(join(tree, to), mode);
  }
  // Operators put a file for each device there.
  mkdirSync(join(tree, "etc/vdpactl"), { recursive: true });
  const changelog = readFileSync(join(packaging, "debian/changelog"), "utf8");
  put(join(tree, "usr/share/doc/vdpactl/changelog.gz"), compressed(changelog));
  const date = new Date(release.epoch * 1000).toISOString().slice(0, 10);
  for (const [path, text] of await generatedDocuments(VERBS, { version: release.version, date })) {
    const page = path.startsWith("man/");
    put(join(tree, "usr/share", page ? `${path}.gz` : path), page ? compressed(text) : text);
  }
}

/** Directories are 0755 and files what they were given, whatever the umask of the build. */
export function settleModes(tree: string): void {
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o755);
  }
  chmodSync(tree, 0o755);
}

function put(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, 0o644);
}

/** As `gzip -9n` does: no name and no time in the header. */
function compressed(text: string): Uint8Array {
  const bytes = Bun.gzipSync(Buffer.from(text), { level: 9 });
  bytes.fill(0, 4, 8);
  return bytes;
}
