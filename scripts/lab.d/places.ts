// Where things are: this checkout, and the cache outside it that holds what is slow to build.
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Root of the checkout. */
export const tree = resolve(import.meta.dir, "../..");

/** Root of the lab's own sources. */
export const recipes = import.meta.dir;

function cacheFolder(): string {
  const own = process.env["VDPACTL_LAB_CACHE"];
  if (own) return resolve(own);
  return join(
    process.env["XDG_CACHE_HOME"] || join(process.env["HOME"] || homedir(), ".cache"),
    "vdpactl-lab",
  );
}

/** Everything the lab builds, and the logs of its runs. */
export const cache = cacheFolder();
