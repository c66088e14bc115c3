// The QEMU that runs the VMs is the one inside the VM's root, with that root's loader and libraries: the same on every
// machine, and the same inside and outside, whose virtio devices then match in the sizes of their rings. (Debian 12's
// own, 7.2, faults under emulation with more than one CPU in about every second boot.)
import { join } from "node:path";

export interface QemuOptions {
  env: string[];
  /** A library that is loaded before QEMU's own. */
  preload?: string;
}

/** The start of a command line: the binary and where its parts are. */
export type QemuCommand = (options: QemuOptions) => string[];

export const qemu = (root: string): QemuCommand => {
  const libraries = join(root, "usr/lib/x86_64-linux-gnu");
  return ({ env, preload }) => [
    ...["env", `QEMU_MODULE_DIR=${join(libraries, "qemu")}`, ...env],
    ...[join(libraries, "ld-linux-x86-64.so.2"), "--library-path", libraries],
    ...(preload === undefined ? [] : ["--preload", preload]),
    ...[join(root, "usr/bin/qemu-system-x86_64"), "-L", join(root, "usr/share/qemu")],
    ...["-L", join(root, "usr/share/seabios")],
  ];
};
