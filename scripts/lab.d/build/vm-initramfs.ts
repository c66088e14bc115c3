// The VM's first user space: load the disk driver, mount the root and hand over. 2 MB, so it costs nothing to load.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { script } from "../command.ts";
import { recipes } from "../places.ts";
import { finished } from "../step.ts";
import type { VmKernel } from "./vm-kernel.ts";

const PACK = `
kernel=$1 version=$2 init=$3 out=$4
root=$out/root
mkdir -p "$root"/{bin,dev,proc,sys,mnt,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
for tool in sh mount insmod switch_root sleep; do ln -s busybox "$root/bin/$tool"; done
cp "$init" "$root/init"
chmod +x "$root/init"
modprobe -d "$kernel" -S "$version" --show-depends virtio_blk | sed -n 's/^insmod //p' | awk '{print $1}' |
while read -r module; do
  name=$(basename "$module" .xz)
  case $module in *.xz) xz -dc "$module" ;; *) cat "$module" ;; esac > "$root/modules/$name"
  echo "$name" >> "$root/modules/order"
done
(cd "$root" && find . | cpio --quiet -o -H newc) > "$out/initramfs.cpio"
rm -r "$root"
`;

export async function vmInitramfs(kernel: VmKernel): Promise<string> {
  const init = join(recipes, "vm", "initramfs-init");
  const folder = await finished({
    name: "vm-initramfs",
    inputs: [PACK, basename(kernel.folder), readFileSync(init, "utf8")],
    build: async (target) => {
      await script(PACK, [kernel.folder, kernel.version, init, target]);
    },
  });
  return join(folder, "initramfs.cpio");
}
