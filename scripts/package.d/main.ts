// scripts/package: builds dist/vdpactl_VERSION_ARCHITECTURE.deb.
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Architecture, hostArchitecture, isArchitecture } from "./machine.ts";
import { buildProgram } from "./program.ts";
import { type Release, readRelease } from "./release.ts";
import { run } from "./run.ts";
import { layOut, settleModes } from "./tree.ts";

const ROOT = join(import.meta.dir, "../..");
const DEBIAN = join(ROOT, "packaging/debian");
/** How packages are compressed unless these variables of dpkg-deb(1) say otherwise; higher levels take much longer. */
const COMPRESSION = { DPKG_DEB_COMPRESSOR_TYPE: "xz", DPKG_DEB_COMPRESSOR_LEVEL: "2" };

const { values, positionals: wanted } = parseArgs({
  options: { out: { type: "string" } },
  allowPositionals: true,
});
const OUT = resolve(values.out ?? join(ROOT, "dist"));
const unknown = wanted.filter((name) => !isArchitecture(name));
if (unknown.length > 0) {
  console.error(`error: no such architecture: ${unknown.join(", ")} (amd64, arm64)`);
  process.exit(2);
}
for (const architecture of wanted.length > 0 ? (wanted as Architecture[]) : [hostArchitecture]) {
  console.log(relative(process.cwd(), await buildPackage(architecture, readRelease(ROOT))));
}

async function buildPackage(architecture: Architecture, release: Release): Promise<string> {
  mkdirSync(OUT, { recursive: true });
  const work = mkdtempSync(join(OUT, ".package-"));
  try {
    const tree = join(work, "tree");
    mkdirSync(join(tree, "usr/bin"), { recursive: true });
    await buildProgram(ROOT, architecture, join(tree, "usr/bin/vdpactl"));
    chmodSync(join(tree, "usr/bin/vdpactl"), 0o755);
    await layOut(ROOT, tree, release);
    const files = filesOf(tree);
    mkdirSync(join(tree, "DEBIAN"));
    writeControl(tree, files, architecture, release);
    settleModes(tree);
    for (const name of readdirSync(tree, { recursive: true, encoding: "utf8" })) {
      utimesSync(join(tree, name), release.epoch, release.epoch);
    }
    const name = `vdpactl_${release.version}_${architecture}.deb`;
    await run(["dpkg-deb", "--root-owner-group", "--build", tree, join(work, name)], {
      env: { ...COMPRESSION, ...process.env, SOURCE_DATE_EPOCH: String(release.epoch) },
    });
    renameSync(join(work, name), join(OUT, name));
    return join(OUT, name);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function filesOf(tree: string): readonly string[] {
  return readdirSync(tree, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(tree, name)).isFile())
    .sort();
}

function writeControl(
  tree: string,
  files: readonly string[],
  architecture: Architecture,
  release: Release,
): void {
  const kib = files.reduce((sum, name) => sum + Math.ceil(statSync(join(tree, name)).size / 1024), 0);
  const control = readFileSync(join(DEBIAN, "control"), "utf8")
    .replace("@VERSION@", release.version)
    .replace("@ARCHITECTURE@", architecture)
    .replace("@SIZE@", String(kib));
  const sums = files.map((name) => {
    const sum = createHash("md5")
      .update(readFileSync(join(tree, name)))
      .digest("hex");
    return `${sum}  ${name}\n`;
  });
  for (const [name, text] of [
    ["control", control],
    ["md5sums", sums.join("")],
  ] as const) {
    writeFileSync(join(tree, "DEBIAN", name), text);
    chmodSync(join(tree, "DEBIAN", name), 0o644);
  }
  for (const script of ["postinst", "prerm", "postrm"]) {
    copyFileSync(join(DEBIAN, script), join(tree, "DEBIAN", script));
    chmodSync(join(tree, "DEBIAN", script), 0o755);
  }
}
