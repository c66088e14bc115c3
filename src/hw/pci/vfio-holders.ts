import { join } from "node:path";
import type { PciDevice } from "./device.ts";
import { HOST, type Host, listDirectory, readAttribute, readLink } from "./host.ts";

export interface Holder {
  readonly pid: number;
  /** The process' name as the kernel has it (15 characters). */
  readonly name: string;
}

/** Nodes through which VFIO gives a device away: its group's, and its own where the kernel has such. */
export function vfioNodes(device: PciDevice, host: Host = HOST): string[] {
  const group = groupNode(device, host);
  return [...(group === undefined ? [] : [group]), ...ownNodes(device, host)];
}

export function groupNode({ iommu_group }: PciDevice, host: Host): string | undefined {
  return iommu_group === undefined ? undefined : join(host.dev, "vfio", String(iommu_group));
}

/** Kernels without VFIO_DEVICE_CDEV have the folder too, but no device number and no node. */
export function ownNodes(device: PciDevice, host: Host): string[] {
  const folder = join(device.path, "vfio-dev");
  return listDirectory(folder)
    .filter((name) => readAttribute(join(folder, name, "dev")) !== undefined)
    .map((name) => join(host.dev, "vfio/devices", name));
}

/** Processes that have a device or its group open. Those of other users are seen by root only. */
export function vfioHolders(device: PciDevice, host: Host = HOST): Holder[] {
  const nodes = vfioNodes(device, host);
  if (nodes.length === 0) return [];
  const pids = listDirectory(host.proc).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids
    .filter((pid) => holdsOne(pid, nodes, host))
    .map((pid) => ({ pid: Number(pid), name: nameOf(pid, host) }));
}

function holdsOne(pid: string, nodes: readonly string[], host: Host): boolean {
  const fds = join(host.proc, pid, "fd");
  return listDirectory(fds).some((fd) => nodes.includes(readLink(join(fds, fd)) ?? ""));
}

const nameOf = (pid: string, host: Host) => readAttribute(join(host.proc, pid, "comm")) ?? "unknown";
