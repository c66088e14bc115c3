// A scenario that stands still says where, before the VM is ended from outside.
import { readdirSync, readFileSync } from "node:fs";

export class StoodStill extends Error {}

/** What `work` resolves to; after `seconds` without an end, the log tells what each thread of the VM waits for. */
export async function withinLimit<T>(seconds: number, work: Promise<T>): Promise<T> {
  let timer: Timer | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      console.log(threads());
      reject(
        new StoodStill(
          `the scenario did not end within ${seconds} s; its log tells what each thread waits for`,
        ),
      );
    }, seconds * 1000);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** State, name and kernel stack of each thread that is not the kernel's own and idle. */
function threads(): string {
  const lines: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const tid of entries(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${tid}`;
      const stat = content(`${folder}/stat`);
      const stack = content(`${folder}/stack`).trimEnd().replace(/^/gm, "    ");
      if (content(`/proc/${pid}/cmdline`) === "" && /\) [SI] /.test(stat)) continue;
      lines.push(`thread ${tid} of ${pid}: ${stat.slice(0, 200).trimEnd()}`, stack);
    }
  }
  return lines.join("\n");
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // It has ended meanwhile.
  }
}

function content(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
