// The Debian package of this checkout, for scenarios that install it. Built for each run, as its sources may have changed.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { tree } from "./places.ts";
import { say, seconds } from "./progress.ts";

/** xz would take longer than all the rest, also in the VM that unpacks it. */
const COMPRESSION = { DPKG_DEB_COMPRESSOR_TYPE: "gzip", DPKG_DEB_COMPRESSOR_LEVEL: "1" };

/** Builds the package into `folder` and returns its path. */
export async function debianPackage(folder: string): Promise<string> {
  const start = performance.now();
  const out = join(folder, "package");
  await command([join(tree, "scripts/package"), "--out", out], { env: COMPRESSION });
  const name = readdirSync(out).find((entry) => entry.endsWith(".deb"));
  if (name === undefined) throw new Error(`scripts/package made no package in ${out}`);
  say(`lab: built ${name} in ${seconds(start)}`);
  return join(out, name);
}
