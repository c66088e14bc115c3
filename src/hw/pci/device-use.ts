import { readdirSync } from "node:fs";
import { join } from "node:path";
import { blockUses } from "./block-use.ts";
import type { PciDevice } from "./device.ts";
import { HOST, type Host, readNumber } from "./host.ts";
import { isVfioDriver } from "./iommu-group.ts";
import { netdevUses } from "./netdev-use.ts";
import { vfioHolders } from "./vfio-holders.ts";

/** What would break if the device were taken from its driver: sentences without a full stop, empty when nothing. */
export function deviceUses(device: PciDevice, host: Host = HOST): string[] {
  const uses: string[] = [];
  const vfs = readNumber(join(device.path, "sriov_numvfs")) ?? 0;
  if (vfs > 0) uses.push(`it has ${vfs} virtual functions enabled`);
  if (isVfioDriver(device.driver)) {
    return [
      ...uses,
      ...vfioHolders(device, host).map(({ pid, name }) => `process ${pid} (${name}) holds it`),
    ];
  }
  const netdevs = netdevsOf(device);
  uses.push(...netdevs.flatMap((netdev) => netdevUses(netdev, host)));
  if (netdevs.length === 0 && device.virtio?.driver === "virtio_net") {
    uses.push("its network interface is in another network namespace");
  }
  uses.push(...blockDirectoriesOf(device).flatMap((directory) => blockUses(directory, host)));
  return uses;
}

/** Network interfaces of a device that are in this network namespace. */
export function netdevsOf(device: PciDevice): string[] {
  return childrenOf(device.path, "net").map((path) => path.slice(path.lastIndexOf("/") + 1));
}

/** Directories of a device's disks, such as `…/virtio1/block/vda`. */
export function blockDirectoriesOf(device: PciDevice): string[] {
  return childrenOf(device.path, "block");
}

/** Deep enough for a SCSI disk: virtioN/hostH/targetT/H:C:T:L/block. */
const MAX_DEPTH = 5;

/** Entries of all directories called `name` below a device, without following links out of it. */
function childrenOf(path: string, name: string, depth = 0): string[] {
  const entries = subdirectories(path);
  if (entries.includes(name)) return subdirectories(join(path, name)).map((entry) => join(path, name, entry));
  if (depth === MAX_DEPTH) return [];
  const below = entries.filter((entry) => /^(virtio\d+|host\d+|target[\d:]+|\d+(:\d+){3})$/.test(entry));
  return below.flatMap((entry) => childrenOf(join(path, entry), name, depth + 1));
}

function subdirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch {
    return [];
  }
}
