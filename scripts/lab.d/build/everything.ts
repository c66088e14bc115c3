// All that a VM needs from the cache, built where it is not there yet.
import { iommufdModules } from "./iommufd-modules.ts";
import { memoryRegisters } from "./memory-registers.ts";
import { nestedInitramfs } from "./nested-initramfs.ts";
import { nestedKernel } from "./nested-kernel.ts";
import { type QemuCommand, qemu } from "./qemu.ts";
import { vmInitramfs } from "./vm-initramfs.ts";
import { vmKernel } from "./vm-kernel.ts";
import { vmRoot } from "./vm-root.ts";

export interface Parts {
  qemu: QemuCommand;
  /** Loaded into QEMU for NICs with a `legacyBar` of memory. */
  memoryRegisters: string;
  kernel: string;
  initramfs: string;
  root: string;
  iommufdModules: string;
  nestedKernel: string;
  nestedInitramfs: string;
}

export async function everything(): Promise<Parts> {
  const kernel = await vmKernel();
  const root = await vmRoot(kernel);
  return {
    qemu: qemu(root.folder),
    memoryRegisters: await memoryRegisters(),
    kernel: kernel.image,
    initramfs: await vmInitramfs(kernel),
    root: root.image,
    iommufdModules: await iommufdModules(kernel, root),
    nestedKernel: await nestedKernel(),
    nestedInitramfs: await nestedInitramfs(root),
  };
}
