// The nested guest's kernel. Under two layers of emulation a distribution's kernel takes minutes to boot, one with
// little more than virtio-net in it takes seconds.
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { script } from "../command.ts";
import { recipes } from "../places.ts";
import { finished } from "../step.ts";
import { dependency, unpack } from "./debian.ts";
import { VM_RELEASE } from "./vm-release.ts";

const COMPILE = `
work=$1 config=$2 jobs=$3 out=$4
tar -C "$work" -xf "$work"/usr/src/linux-source-*.tar.xz
cd "$work"/linux-source-*/
make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config "$config" > /dev/null
make -s olddefconfig
missing=$(grep -E '^CONFIG_[A-Z0-9_]+=y' "$config" | grep -vxFf .config || true)
[ -z "$missing" ] || { echo "the kernel refuses: $missing" >&2; exit 1; }
make -s -j"$jobs" vmlinux > /dev/null
strip --strip-debug -o "$out" vmlinux
`;

export async function nestedKernel(): Promise<string> {
  const config = join(recipes, "guest", "kernel.config");
  const folder = await finished({
    name: "nested-kernel",
    inputs: [VM_RELEASE, COMPILE, readFileSync(config, "utf8")],
    build: async (target) => {
      const work = join(target, "work");
      const source = await dependency(VM_RELEASE, "linux-source", /^linux-source-\d/);
      await unpack(VM_RELEASE, [source], work);
      const jobs = String(availableParallelism());
      await script(COMPILE, [work, config, jobs, join(target, "vmlinux")], { timeoutSeconds: 3600 });
      await script('rm -rf "$1"', [work]);
    },
  });
  return join(folder, "vmlinux");
}
