// VFIO's modules, and what of VFIO a process has open.
import { command } from "./command.ts";
import { fdTargets } from "./footprint.ts";
import { IOMMUFD_FOLDER, IOMMUFD_MODULES } from "./iommufd-modules.ts";

/** The kernel's own modules, which know groups and containers only. */
export async function loadVfio(): Promise<void> {
  await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
}

/** Takes them out again; no device may have vfio-pci any more. */
export async function unloadVfio(): Promise<void> {
  await command("modprobe", "-r", "vfio-pci", "vfio_iommu_type1");
}

/** The lab's own build of them: each device has a character device for iommufd too, and groups work as before. */
export async function loadVfioWithIommufd(): Promise<void> {
  await command("modprobe", "irqbypass");
  for (const name of IOMMUFD_MODULES) await command("insmod", `${IOMMUFD_FOLDER}/${name}.ko`);
}

/** VFIO nodes that a process has open, sorted. */
export function openVfioNodes(pid: number): string[] {
  const nodes = fdTargets(pid).filter((target) => /^\/dev\/(vfio\/|iommu)/.test(target));
  return [...new Set(nodes)].sort();
}
