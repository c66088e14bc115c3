// One builder at a time: a second run waits for the first and then finds everything done.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { cache } from "./places.ts";
import { LabError } from "./progress.ts";

/** Runs `action` with the lock called `name` held. The lock ends with this process, however it ends. */
export async function locked<T>(name: string, action: () => Promise<T>): Promise<T> {
  mkdirSync(cache, { recursive: true });
  // flock holds the lock while its child runs, and the child runs until our end of its stdin closes.
  const holder = Bun.spawn(["flock", join(cache, `.${name}.lock`), "sh", "-c", "echo held; exec cat"], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
  });
  const { done } = await holder.stdout.getReader().read();
  if (done) throw new LabError(`the lock ${name} cannot be taken in ${cache}`);
  try {
    return await action();
  } finally {
    await holder.stdin.end();
    await holder.exited;
  }
}
