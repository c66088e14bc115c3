// VFIO with iommufd and character devices, which Debian's cloud kernel is built without: iommufd, and VFIO's own modules
// compiled anew for it, out of tree against that kernel's headers. All the exports it needs are in the kernel as it is,
// and of the kernel's structures only VFIO's own look different with it.
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { IOMMUFD_MODULES } from "../../../test/lab/harness/iommufd-modules.ts";
import { script } from "../command.ts";
import { LabError } from "../progress.ts";
import { finished } from "../step.ts";
import { dependency, unpack } from "./debian.ts";
import type { VmKernel } from "./vm-kernel.ts";
import { VM_RELEASE } from "./vm-release.ts";
import type { VmRoot } from "./vm-root.ts";

const COMPILE = `
work=$1 version=$2 root=$3 jobs=$4 out=$5
shift 5
headers=$work/usr/src/linux-headers-$version
kbuild=$(realpath "$headers/scripts/..")

# Debian's tools for building modules need the C library of the VM's release.
libraries=$root/usr/lib/x86_64-linux-gnu
while read -r name tool; do
  printf '#!/bin/sh\\nexec %s/ld-linux-x86-64.so.2 --library-path %s %s "$@"\\n' \\
    "$libraries" "$libraries" "$kbuild/$tool" > "$kbuild/$name"
done <<TOOLS
scripts/mod/modpost scripts/mod/modpost.real-lsb-64
tools/objtool/objtool tools/objtool/objtool.real-x86
TOOLS
sed -i "s|^include /usr/src/|include $work/usr/src/|" "$headers/Makefile"
# Types for debugging would need the whole kernel's.
rm -f "$headers/vmlinux"

mkdir "$work/linux"
tar -C "$work/linux" --strip-components=1 --wildcards -xf "$work"/usr/src/linux-source-*.tar.xz '*-source-*/Makefile' \\
  '*/drivers/iommu/iommu-priv.h' '*/drivers/iommu/iommufd' '*/drivers/vfio' '*/lib/interval_tree.c'
cd "$work/linux"
source=$(sed -nE 's/^(VERSION|PATCHLEVEL|SUBLEVEL) = //p' Makefile | paste -sd.)
[ "$source" = "\${version%%[+-]*}" ] ||
  { echo "the source is that of Linux $source, the VM's kernel is $version" >&2; exit 1; }

# The one helper of iommufd that is left out of a kernel without it.
{
  echo '#include <linux/interval_tree.h>'
  sed -n '/^#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER/,/^#endif/{/^#/d;/^EXPORT_SYMBOL/d;p}' lib/interval_tree.c
} > drivers/iommu/iommufd/span_iter.c
echo 'iommufd-y += span_iter.o' >> drivers/iommu/iommufd/Makefile
echo 'obj-y += iommu/iommufd/ vfio/' > drivers/Makefile

# Debian compiled with gcc 14; older ones lack an option of it that only aligns functions.
options=()
gcc -fmin-function-alignment=16 -x c -c /dev/null -o /dev/null 2> /dev/null ||
  options=(CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=)
make -s -C "$headers" M="$PWD/drivers" CC=gcc "\${options[@]}" CONFIG_IOMMUFD=m CONFIG_VFIO_DEVICE_CDEV=y -j"$jobs" \\
  KCFLAGS='-DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_VFIO_DEVICE_CDEV=1 -DCONFIG_INTERVAL_TREE_SPAN_ITER=1' modules
for name; do strip --strip-debug -o "$out/$name.ko" "$(find drivers -name "$name.ko")"; done
`;

/** Returns the folder of the modules. */
export async function iommufdModules(kernel: VmKernel, root: VmRoot): Promise<string> {
  return finished({
    name: "iommufd-modules",
    inputs: [VM_RELEASE, basename(kernel.folder), kernel.version, COMPILE, ...IOMMUFD_MODULES],
    build: async (target) => {
      const work = join(target, "work");
      await fetch(kernel, work);
      const jobs = String(availableParallelism());
      await script(COMPILE, [work, kernel.version, root.folder, jobs, target, ...IOMMUFD_MODULES]);
      await script('rm -rf "$1"', [work]);
    },
  });
}

async function fetch({ version, folder }: VmKernel, work: string): Promise<void> {
  const headers = `linux-headers-${version}`;
  try {
    const packages = [
      ...[headers, headers.replace(/-cloud-.*$/, "-common")],
      ...[await dependency(VM_RELEASE, headers, /^linux-kbuild-/)],
      ...[await dependency(VM_RELEASE, "linux-source", /^linux-source-\d/)],
    ];
    await unpack(VM_RELEASE, packages, work);
  } catch (error) {
    if (!(error instanceof LabError)) throw error;
    throw new LabError(
      `${error.message}\nThe mirror may have moved on since ${folder} was fetched: remove that to fetch it anew.`,
    );
  }
}
