import { existsSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** Path of the compiled program under test: VDPACTL_BIN, else dist/vdpactl. */
export function vdpactlBinary(): string {
  const path = process.env["VDPACTL_BIN"] || join(root, "dist/vdpactl");
  if (!existsSync(path)) throw new Error(`${path} does not exist: run ./scripts/build first`);
  return path;
}
