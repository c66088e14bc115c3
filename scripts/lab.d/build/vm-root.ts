// The VM's root file system, mounted read-only: Debian with QEMU, DPDK and the Bun of this checkout. systemd and udev
// run only where a scenario asks for them.
import { basename, join } from "node:path";
import { command, script } from "../command.ts";
import { finished } from "../step.ts";
import { sourceLine } from "./debian.ts";
import type { VmKernel } from "./vm-kernel.ts";
import { VM_RELEASE } from "./vm-release.ts";

const PACKAGES = (
  "qemu-system-x86 qemu-utils dpdk-dev busybox-static iproute2 iputils-ping kmod pciutils ethtool mount " +
  "socat procps strace tcpdump netcat-openbsd less systemd udev"
).split(" ");

const FINISH = `
root=$1 kernel=$2 version=$3 bun=$4
mkdir -p "$root/lab" "$root/logs" "$root/lib/modules"
cp -a "$kernel/lib/modules/$version" "$root/lib/modules/"
cp "$bun" "$root/usr/local/bin/bun"
find "$root" -name '*.a' -delete
rm -rf "$root"/usr/share/{doc,man,locale,info} "$root"/var/cache/apt "$root"/var/lib/apt/lists
rm -rf "$root"/usr/include "$root"/boot/* "$root"/usr/share/qemu/edk2-* "$root"/usr/lib/firmware
# These would keep a package's manual pages out of the VM.
rm "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
for tool in qemu-system-x86_64 dpdk-testpmd busybox ip ping modprobe lspci ethtool mount strace stdbuf systemctl udevadm; do
  [ -e "$root/usr/bin/$tool" ] || [ -e "$root/usr/sbin/$tool" ] || { echo "the root has no $tool" >&2; exit 1; }
done
`;

// mke2fs grows nothing: the image gets a tenth more than the files need.
const PACK = `
root=$1 image=$2
mib=$(du -sm --apparent-size "$root" | cut -f1)
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -d "$root" "$image" $((mib + mib / 10 + 64))M
`;

export interface VmRoot {
  image: string;
  /** The same files unpacked, for pieces that other images take from it. */
  folder: string;
}

export async function vmRoot(kernel: VmKernel): Promise<VmRoot> {
  const folder = await finished({
    name: "vm-root",
    inputs: [VM_RELEASE, basename(kernel.folder), Bun.version, FINISH, PACK, ...PACKAGES],
    build: async (target) => {
      const root = join(target, "files");
      await command([
        ...["mmdebstrap", "--variant=apt", "--quiet", "--aptopt=APT::Install-Recommends false"],
        ...["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"],
        ...[`--include=${PACKAGES.join(",")}`, VM_RELEASE, root, await sourceLine(VM_RELEASE)],
      ]);
      await script(FINISH, [root, kernel.folder, kernel.version, process.execPath]);
      await script(PACK, [root, join(target, "root.img")]);
    },
  });
  return { image: join(folder, "root.img"), folder: join(folder, "files") };
}
