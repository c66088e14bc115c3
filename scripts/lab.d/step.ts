// A build step: a folder in the cache named after the step and the hash of everything that went into it.
// It is built in a temporary folder and renamed when complete, so that what exists is whole.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { locked } from "./lock.ts";
import { cache } from "./places.ts";
import { say, seconds } from "./progress.ts";

export interface Step {
  name: string;
  /** What the result depends on; a change of any of them makes another folder. */
  inputs: string[];
  /** Fills the empty folder it is given. */
  build(folder: string): Promise<void>;
}

const UNUSED_DAYS = 14;

/** Returns the folder of the finished step. */
export async function finished(step: Step): Promise<string> {
  const key = createHash("sha256").update(step.inputs.join("\0")).digest("hex").slice(0, 12);
  const folder = join(cache, "built", `${step.name}-${key}`);
  if (!existsSync(folder)) {
    await locked(step.name, async () => {
      if (!existsSync(folder)) await make(step, folder);
    });
  }
  utimesSync(folder, new Date(), new Date());
  return folder;
}

async function make(step: Step, folder: string): Promise<void> {
  removeLeftovers(step.name);
  const unfinished = join(cache, "built", `.${step.name}.${process.pid}`);
  mkdirSync(unfinished, { recursive: true });
  say(`lab: building ${step.name} …`);
  const start = performance.now();
  try {
    await step.build(unfinished);
    renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  say(`lab: built ${step.name} in ${seconds(start)}`);
}

/** Removes what interrupted builds left, and results of older recipes that nobody has used for long. */
function removeLeftovers(name: string): void {
  const built = join(cache, "built");
  mkdirSync(built, { recursive: true });
  for (const entry of readdirSync(built)) {
    const path = join(built, entry);
    const [, owner] = entry.match(/^\..*\.(\d+)$/) ?? [];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) rmSync(path, { recursive: true, force: true });
    const old = owner === undefined && entry.startsWith(name + "-");
    if (old && Date.now() - statSync(path).mtimeMs > UNUSED_DAYS * 86_400_000) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
