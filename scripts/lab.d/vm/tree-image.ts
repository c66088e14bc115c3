// The disk that carries this checkout, the modules with iommufd and the nested guest into the VM. Made anew for each run,
// in about a second; mounting it costs nothing, where unpacking an archive under emulation would take long.
import { cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Parts } from "../build/everything.ts";
import { script } from "../command.ts";
import { recipes, tree } from "../places.ts";

/** Development tools: large, and nothing in the VM imports them. */
const LEFT_OUT = new Set([
  "@biomejs",
  "@oven",
  "@types",
  "@typescript",
  "bun",
  "bun-types",
  "typescript",
  "undici-types",
]);

const CARRIED = ["src", "test", "package.json", "tsconfig.json", "bunfig.toml", "dist/vdpactl"];

// mke2fs makes fewer inodes than it is asked for, depending on the size: there is plenty of room for that.
const PACK = `
folder=$1 image=$2
chmod +x "$folder/init" "$folder/scenario" "$folder/with-systemd"
mib=$(du -sm --apparent-size "$folder" | cut -f1)
inodes=$(find "$folder" | wc -l)
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -N $((3 * inodes + 300)) -d "$folder" "$image" $((mib + mib / 5 + 16))M
`;

/** Writes the image into `folder` and returns its path. `debianPackage` is carried along as /lab/NAME. */
export async function treeImage(parts: Parts, folder: string, debianPackage?: string): Promise<string> {
  const root = join(folder, "tree");
  mkdirSync(join(root, "tree/dist"), { recursive: true });
  mkdirSync(join(root, "nested"));
  for (const path of CARRIED) {
    if (existsSync(join(tree, path))) cpSync(join(tree, path), join(root, "tree", path), { recursive: true });
  }
  for (const name of readdirSync(join(tree, "node_modules"))) {
    if (name.startsWith(".") || LEFT_OUT.has(name)) continue;
    cpSync(join(tree, "node_modules", name), join(root, "tree/node_modules", name), { recursive: true });
  }
  for (const name of ["init", "scenario", "with-systemd"])
    cpSync(join(recipes, "vm", name), join(root, name));
  if (debianPackage !== undefined) cpSync(debianPackage, join(root, basename(debianPackage)));
  cpSync(parts.iommufdModules, join(root, "iommufd"), { recursive: true });
  cpSync(parts.nestedKernel, join(root, "nested/vmlinux"));
  cpSync(parts.nestedInitramfs, join(root, "nested/initramfs.cpio"));
  const image = join(folder, "tree.img");
  await script(PACK, [root, image]);
  await script('chmod -R u+w "$1"; rm -rf "$1"', [root]);
  return image;
}
