import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { hypervisorPresent } from "../hypervisor.ts";
import { OperatorError } from "../operator-error.ts";
import { isBridge, type PciDevice } from "./device.ts";
import { deviceUses } from "./device-use.ts";
import { type Host, readAttribute } from "./host.ts";
import { hasIommu, readIommuGroup } from "./iommu-group.ts";
import { needsRoot } from "./needs-root.ts";

/** Refuses devices that something depends on. */
export function checkUnused(devices: readonly PciDevice[], host: Host): void {
  for (const device of devices) {
    const uses = deviceUses(device, host);
    if (uses.length === 0) continue;
    throw new OperatorError(`${device.bdf} is in use`, {
      why: uses.join("; "),
      remedy: `end that use first, or take the device from it with vdpactl bind --force ${device.bdf}`,
      kind: "refused",
    });
  }
}

/** Refuses devices that VFIO could not use: bridges, those without an IOMMU, and groups with others in the way. */
export function checkGroups(devices: readonly PciDevice[], force: boolean, host: Host): void {
  for (const device of devices) {
    if (isBridge(device)) {
      throw new OperatorError(`${device.bdf} is a bridge`, {
        why: "VFIO gives only the devices behind it to user space",
        remedy: "vdpactl probe lists the devices that can be served",
        kind: "refused",
      });
    }
    if (force) continue;
    if (device.iommu_group === undefined) throw withoutIommu(device, host);
    checkGroup(device, device.iommu_group, devices, host);
  }
}

function withoutIommu({ bdf }: PciDevice, host: Host): OperatorError {
  return new OperatorError(`${bdf} can not be given to user space`, {
    why: hasIommu(host) ? "no IOMMU translates for this device" : "this machine has no active IOMMU",
    remedy: iommuRemedy(host),
    kind: "not-ready",
  });
}

/** How to get an IOMMU: in a guest the hypervisor has to bring one, on a host firmware and kernel. */
export function iommuRemedy(host: Host): string {
  return hypervisorPresent(readAttribute(join(host.proc, "cpuinfo")) ?? "")
    ? "give this virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on,caching-mode=on, and iommu_platform=on for the device) and boot with intel_iommu=on"
    : "enable VT-d, AMD-Vi or SMMU in the firmware and boot with intel_iommu=on (Intel) or amd_iommu=on (AMD)";
}

function checkGroup(device: PciDevice, id: number, devices: readonly PciDevice[], host: Host): void {
  const chosen = new Set(devices.map(({ bdf }) => bdf));
  const { members } = readIommuGroup(id, host);
  const offenders = members.filter(({ bdf, inTheWay }) => inTheWay && !chosen.has(bdf));
  if (offenders.length === 0) return;
  const together = members.filter(({ bdf, inTheWay }) => inTheWay || chosen.has(bdf)).map(({ bdf }) => bdf);
  throw new OperatorError(`${device.bdf} shares IOMMU group ${id} with devices in use by the kernel`, {
    why: `a group is given to user space as a whole; ${offenders.map(({ bdf, driver }) => `${bdf} is bound to ${driver}`).join(", ")}`,
    remedy: `vdpactl bind ${together.join(" ")}`,
    kind: "refused",
  });
}

/** Binding is root's. */
export function checkRights(needed: boolean, host: Host): void {
  if (!needed) return;
  const path = join(host.sys, "bus/pci/drivers_probe");
  try {
    accessSync(path, constants.W_OK);
  } catch (cause) {
    throw needsRoot("drivers can not be changed", `write ${path}`, cause);
  }
}
