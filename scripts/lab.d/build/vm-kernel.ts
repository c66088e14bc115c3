// The VM's kernel: Debian's cloud image, unpacked and not installed.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { command } from "../command.ts";
import { finished } from "../step.ts";
import { dependency, unpack } from "./debian.ts";
import { VM_RELEASE } from "./vm-release.ts";

export interface VmKernel {
  /** Folder that holds usr/lib/modules (or lib/modules). */
  folder: string;
  version: string;
  image: string;
}

const METAPACKAGE = "linux-image-cloud-amd64";

export async function vmKernel(): Promise<VmKernel> {
  const folder = await finished({
    name: "vm-kernel",
    inputs: [VM_RELEASE, METAPACKAGE],
    build: async (target) => {
      await unpack(VM_RELEASE, [await dependency(VM_RELEASE, METAPACKAGE, /^linux-image-\d/)], target);
      // Debian 13 ships modules below usr/lib, Debian 12 below lib: depmod and modprobe -d want lib.
      await command(["bash", "-c", '[ -e "$1/lib" ] || ln -s usr/lib "$1/lib"', "lab", target]);
      await command(["depmod", "-b", target, versionIn(target)]);
    },
  });
  const version = versionIn(folder);
  return { folder, version, image: join(folder, "boot", "vmlinuz-" + version) };
}

function versionIn(folder: string): string {
  const image = readdirSync(join(folder, "boot")).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Error(`no kernel image in ${folder}/boot`);
  return image.slice("vmlinuz-".length);
}
