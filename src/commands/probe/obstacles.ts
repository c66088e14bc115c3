import { existsSync } from "node:fs";
import { join } from "node:path";
import { hypervisorPresent } from "../../hw/hypervisor.ts";
import { iommuRemedy } from "../../hw/pci/bind-checks.ts";
import type { PciDevice } from "../../hw/pci/device.ts";
import { type Host, readAttribute } from "../../hw/pci/host.ts";
import { hasIommu, isVfioDriver, readIommuGroup } from "../../hw/pci/iommu-group.ts";
import { VIRTIO_NET, virtioTypeName } from "../../hw/pci/virtio-id.ts";
import type { Obstacle } from "./record.ts";
import type { VfioAccess } from "./vfio-way.ts";

/** What else has been found out about the device. */
export interface Findings {
  readonly type: number;
  readonly uses: readonly string[];
  /** Undefined when it is not known. */
  readonly accessPlatform: boolean | undefined;
  /** MSI-X vectors; undefined when it is not known. */
  readonly msixVectors: number | undefined;
  /** Undefined for a device that is not bound to VFIO. */
  readonly access: VfioAccess | undefined;
}

/** All that stands in the way of serving a device, the hardest to change first. */
export function findObstacles(device: PciDevice, findings: Findings, host: Host): Obstacle[] {
  const bound = isVfioDriver(device.driver);
  const { access } = findings;
  return [
    ...unsupportedType(findings.type),
    ...(device.iommu_group === undefined || isNoIommuGroup(device, host) ? [noIommu(host)] : []),
    ...(findings.msixVectors === 0 ? [NO_VECTORS] : []),
    ...(findings.accessPlatform === false ? untranslatedDma(host) : []),
    ...sharedGroup(device, host),
    ...usedBy(findings.uses, bound),
    ...(access ? permission(device, access) : [notBound(device)]),
    ...memlock(host),
  ];
}

const unsupportedType = (type: number): Obstacle[] =>
  type === VIRTIO_NET
    ? []
    : [
        {
          code: "unsupported_type",
          text: `a virtio device of type ${virtioTypeName(type)} can not be served, only net can`,
          remedy: null,
        },
      ];

const noIommu = (host: Host): Obstacle => ({
  code: "no_iommu",
  text: hasIommu(host) ? "no IOMMU translates for this device" : "this machine has no active IOMMU",
  remedy: iommuRemedy(host),
});

/** VFIO without an IOMMU makes up groups, whose nodes have a name of their own. */
const isNoIommuGroup = ({ iommu_group }: PciDevice, host: Host) =>
  iommu_group !== undefined && existsSync(join(host.dev, "vfio", `noiommu-${iommu_group}`));

const NO_VECTORS: Obstacle = {
  code: "no_vectors",
  text: "it has no MSI-X vectors, so it can not interrupt a guest",
  remedy: "give the virtual device vectors=N, 2 for each queue pair and 2 more (QEMU)",
};

/** As `serve` sees it (requireTranslatedDma): outside of a virtual machine nothing bypasses the IOMMU. */
const untranslatedDma = (host: Host): Obstacle[] =>
  hypervisorPresent(readAttribute(join(host.proc, "cpuinfo")) ?? "")
    ? [
        {
          code: "no_access_platform",
          text: "it does not offer ACCESS_PLATFORM, so an emulated IOMMU does not translate its DMA",
          remedy:
            "create it with disable-legacy=on,iommu_platform=on (QEMU), or use serve --force if its DMA is translated all the same",
        },
      ]
    : [];

function sharedGroup(device: PciDevice, host: Host): Obstacle[] {
  if (device.iommu_group === undefined) return [];
  const { id, members } = readIommuGroup(device.iommu_group, host);
  const offenders = members.filter(({ bdf, inTheWay }) => inTheWay && bdf !== device.bdf);
  if (offenders.length === 0) return [];
  return [
    {
      code: "group_shared",
      text: `IOMMU group ${id} has ${offenders.map(({ bdf, driver }) => `${bdf} (${driver})`).join(", ")} too`,
      remedy: `vdpactl bind ${[device, ...offenders].map(({ bdf }) => bdf).join(" ")}`,
    },
  ];
}

function usedBy(uses: readonly string[], bound: boolean): Obstacle[] {
  if (uses.length === 0) return [];
  return [{ code: bound ? "held" : "in_use", text: uses.join("; "), remedy: "end that use first" }];
}

const notBound = ({ bdf, driver }: PciDevice): Obstacle => ({
  code: "not_bound",
  text: driver ? `it is bound to ${driver}` : "it has no driver",
  remedy: `vdpactl bind ${bdf}`,
});

function permission(device: PciDevice, { way, nodes }: VfioAccess): Obstacle[] {
  if (nodes.length === 0 || way !== undefined) return [];
  return [
    {
      code: "vfio_permission",
      text: `this user may not open ${nodes.join(" or ")}`,
      remedy: `sudo vdpactl bind --owner $USER: ${device.bdf}`,
    },
  ];
}

const CAP_IPC_LOCK = 14n;
/** Less than any guest has. */
const ENOUGH = 1 << 30;

/** VFIO pins the guest's memory, which counts against RLIMIT_MEMLOCK unless the process has CAP_IPC_LOCK. */
function memlock(host: Host): Obstacle[] {
  const status = readAttribute(join(host.proc, "self/status")) ?? "";
  const effective = BigInt(`0x${/^CapEff:\s*([\da-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  if ((effective >> CAP_IPC_LOCK) & 1n) return [];
  const limits = readAttribute(join(host.proc, "self/limits")) ?? "";
  const limit = /^Max locked memory\s+(\d+)/m.exec(limits)?.[1];
  if (limit === undefined || Number(limit) >= ENOUGH) return [];
  return [
    {
      code: "memlock",
      text: `this user may lock only ${Math.floor(Number(limit) / 1024)} KiB of memory, and a guest's memory must be locked whole`,
      remedy:
        "raise it for the service (LimitMEMLOCK=infinity) or the user (memlock in limits.conf), or run as root",
    },
  ];
}
