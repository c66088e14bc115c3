import { accessSync, constants, existsSync } from "node:fs";
import { join } from "node:path";
import type { PciDevice } from "../../hw/pci/device.ts";
import type { Host } from "../../hw/pci/host.ts";
import { vfioNodes } from "../../hw/pci/vfio-holders.ts";

/** How VFIO lets this user have a device. */
export interface VfioAccess {
  /** The way that `serve` takes, as `openVfio`; undefined where none is open to this user. */
  readonly way: "iommufd" | "group" | undefined;
  /** Nodes of the device that exist. */
  readonly nodes: readonly string[];
}

/** Looks at the nodes of a device that is bound to VFIO without opening them. */
export function vfioAccess(device: PciDevice, host: Host): VfioAccess {
  const nodes = vfioNodes(device, host).filter((node) => existsSync(node));
  const usable = nodes.filter(mayOpen);
  const group = join(host.dev, "vfio", String(device.iommu_group));
  // A character device is of no use without iommufd.
  const cdev = usable.some((node) => node !== group) && mayOpen(join(host.dev, "iommu"));
  return { way: cdev ? "iommufd" : usable.includes(group) ? "group" : undefined, nodes };
}

function mayOpen(node: string): boolean {
  try {
    accessSync(node, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
