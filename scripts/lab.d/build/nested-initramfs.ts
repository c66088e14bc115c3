// The nested guest's user space: busybox, and the VM's ethtool for its number of queues.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { script } from "../command.ts";
import { recipes } from "../places.ts";
import { finished } from "../step.ts";
import type { VmRoot } from "./vm-root.ts";

const PACK = `
vm=$1 init=$2 out=$3
root=$out/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,lib64,lib/x86_64-linux-gnu}
cp "$vm/usr/bin/busybox" "$root/bin/busybox"
for tool in $("$root/bin/busybox" --list); do [ "$tool" = busybox ] || ln -sf busybox "$root/bin/$tool"; done
cp "$vm/usr/sbin/ethtool" "$root/bin/ethtool.bin"
rm -f "$root/bin/ethtool"
mv "$root/bin/ethtool.bin" "$root/bin/ethtool"
cp -L "$vm/lib64/ld-linux-x86-64.so.2" "$root/lib64/"
for library in libc.so.6 libm.so.6 libmnl.so.0; do cp -L "$vm/usr/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"; done
cp "$init" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$out/initramfs.cpio"
rm -r "$root"
`;

export async function nestedInitramfs(root: VmRoot): Promise<string> {
  const init = join(recipes, "guest", "init");
  const folder = await finished({
    name: "nested-initramfs",
    inputs: [PACK, basename(join(root.folder, "..")), readFileSync(init, "utf8")],
    build: async (target) => {
      await script(PACK, [root.folder, init, target]);
    },
  });
  return join(folder, "initramfs.cpio");
}
