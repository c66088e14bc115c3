import { join } from "node:path";
import { isBridge, type PciDevice, readPciDevice } from "./device.ts";
import { HOST, type Host, listDirectory } from "./host.ts";

/** Devices that the IOMMU can not tell apart: they are given to user space together or not at all. */
export interface IommuGroup {
  readonly id: number;
  readonly members: readonly GroupMember[];
}

export interface GroupMember {
  readonly bdf: string;
  readonly driver: string | undefined;
  /** Its driver keeps the group from being used by VFIO. */
  readonly inTheWay: boolean;
}

export function readIommuGroup(id: number, host: Host = HOST): IommuGroup {
  const names = listDirectory(join(host.sys, "kernel/iommu_groups", String(id), "devices"));
  return {
    id,
    members: names.flatMap((bdf) => {
      const device = readPciDevice(bdf, host);
      return device ? { bdf, driver: device.driver, inTheWay: isInTheWay(device) } : [];
    }),
  };
}

/**
 * What the kernel calls a viable group: each member has no driver, a VFIO driver, or one that does no DMA of its own
 * (pci-stub, and the port drivers of bridges).
 */
function isInTheWay(device: PciDevice): boolean {
  const { driver } = device;
  return driver !== undefined && !isVfioDriver(driver) && driver !== "pci-stub" && !isBridge(device);
}

/** vfio-pci or one of its variants, such as mlx5_vfio_pci or virtio_vfio_pci. */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver?.replaceAll("_", "-").split("-").includes("vfio") ?? false;
}

/** Whether any IOMMU is active on this machine. */
export function hasIommu(host: Host = HOST): boolean {
  return listDirectory(join(host.sys, "kernel/iommu_groups")).length > 0;
}
