// A folder for the files of one run, gone when the run ends, also when it is interrupted.
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cache } from "./places.ts";

export function workFolder(): string {
  const all = join(cache, "running");
  mkdirSync(all, { recursive: true });
  for (const owner of readdirSync(all)) {
    if (!existsSync(`/proc/${owner}`)) rmSync(join(all, owner), { recursive: true, force: true });
  }
  const own = join(all, String(process.pid));
  mkdirSync(own, { recursive: true });
  process.on("exit", () => rmSync(own, { recursive: true, force: true }));
  return own;
}
