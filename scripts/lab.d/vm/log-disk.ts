// The disk that the VM writes its logs to. It is read without mounting, so that a VM that died gives them too.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { script } from "../command.ts";

const SIZE = "256M";

export async function logDisk(folder: string): Promise<string> {
  const image = join(folder, "logs.img");
  await script(`mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 "$1" ${SIZE}`, [image]);
  return image;
}

/** Copies the disk's files to `target` and removes the disk. */
export async function takeLogs(image: string, target: string): Promise<void> {
  mkdirSync(target, { recursive: true });
  // e2fsck ends with 1 when it repaired something, as after a VM that was killed.
  await script(
    'e2fsck -fy "$1" > /dev/null 2>&1 || [ $? -le 2 ]; debugfs -R "rdump / $2" "$1" 2> /dev/null',
    [image, target],
  );
  rmSync(join(target, "lost+found"), { recursive: true, force: true });
  rmSync(image);
}
