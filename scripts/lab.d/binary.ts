// The binary under test: built when it is missing, and named when the sources have moved on since.
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { tree } from "./places.ts";
import { say } from "./progress.ts";

export async function binary(): Promise<void> {
  const path = join(tree, "dist/vdpactl");
  if (!existsSync(path)) {
    say("lab: building dist/vdpactl");
    await command([join(tree, "scripts/build")]);
    return;
  }
  if (newest(join(tree, "src")) > statSync(path).mtimeMs) {
    say("lab: note: src/ is newer than dist/vdpactl, which is what runs; scripts/build builds it anew");
  }
}

function newest(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Math.max(0, ...files.map((file) => statSync(join(file.parentPath, file.name)).mtimeMs));
}
