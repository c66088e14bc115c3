import { SysError } from "../ffi/errno.ts";
import { companionNodes, type GroupOffender, groupOffenders, holdersOf, IOMMUFD_PATH } from "./host.ts";
import type { Kernel } from "./kernel.ts";

/** The same failed call, with the reason and remedy that fit the situation. */
function because(error: SysError, why: string, remedy: string): SysError {
  const detail = { why: `${why} (${error.code})`, remedy, kind: "not-ready" as const, cause: error };
  return new SysError(error.call, error.errno, error.path, detail);
}

const ABSENT = ["ENOENT", "ENODEV", "ENXIO"];
const FORBIDDEN = ["EACCES", "EPERM"];

/** Whether a node could not be opened because there is none, or no driver behind it. */
export function isAbsentNode(error: unknown): error is SysError {
  return error instanceof SysError && error.call === "open" && ABSENT.includes(error.code);
}

/** The same, or because this user may not. */
export function isClosedNode(error: unknown): error is SysError {
  return (
    isAbsentNode(error) ||
    (error instanceof SysError && error.call === "open" && FORBIDDEN.includes(error.code))
  );
}

/** Explains why a VFIO device node can not be opened; `nodes` are others through which the device may be in use. */
export function explainOpen(
  error: unknown,
  bdf: string,
  kernel: Kernel,
  nodes: readonly string[] = [],
): unknown {
  if (!(error instanceof SysError) || error.path === undefined) return error;
  switch (error.code) {
    case "EACCES":
    case "EPERM":
      return because(
        error,
        "this user may not use it",
        error.path === IOMMUFD_PATH
          ? `run as root, or let this user open it: setfacl -m u:USER:rw ${IOMMUFD_PATH}`
          : `run as root, or give the device away: vdpactl bind --pci ${bdf} --owner USER`,
      );
    case "EBUSY":
      return explainBusy(error, [error.path, ...nodes], kernel);
    case "ENOENT":
    case "ENODEV":
    case "ENXIO":
      return because(error, "the VFIO driver is not loaded", "modprobe vfio-pci");
    default:
      return error;
  }
}

/** Explains a device that somebody has open; `paths` are the nodes through which that can be. */
export function explainBusy(
  error: SysError,
  paths: readonly string[],
  kernel: Kernel,
  exceptPid?: number,
): SysError {
  const holders = holdersOf(kernel, paths, exceptPid);
  const who = holders.length > 0 ? holders.join(", ") : "another process";
  return because(error, `${who} uses it`, "stop that process first");
}

/** As `0000:00:05.0 (virtio-pci), …`. */
export const nameOffenders = (offenders: readonly GroupOffender[]) =>
  offenders.map(({ bdf, driver }) => `${bdf} (${driver})`).join(", ");

/** The command that gives the rest of a device's group to user space; one that leaves some out would be refused. */
export function bindRemedy(bdf: string, offenders: readonly GroupOffender[]): string {
  const together = [bdf, ...offenders.map((offender) => offender.bdf)].sort();
  return `bind the whole group: vdpactl bind ${together.join(" ")}`;
}

/** Explains a refused attachment to the IOMMU: an unsafe platform, or other devices of the group. */
export function explainAttach(error: unknown, bdf: string, group: string, kernel: Kernel): unknown {
  if (!(error instanceof SysError)) return error;
  const offenders = groupOffenders(kernel, group);
  if (offenders.length > 0) {
    return because(
      error,
      `IOMMU group ${group} has devices with kernel drivers: ${nameOffenders(offenders)}`,
      bindRemedy(bdf, offenders),
    );
  }
  // With iommufd each holder owns the group's DMA alone, and the others get EPERM too (iommu_device_claim_dma_owner).
  const holders = holdersOf(kernel, companionNodes(kernel, bdf, group));
  if (holders.length > 0) {
    return because(
      error,
      `${holders.join(", ")} uses another device of its IOMMU group ${group}`,
      "stop that process first",
    );
  }
  if (error.code === "EPERM" && /VFIO_SET_IOMMU|IOMMUFD/.test(error.call)) {
    const module = error.call.includes("IOMMUFD") ? "iommufd" : "vfio_iommu_type1";
    return because(
      error,
      "the IOMMU does not isolate interrupts, so the kernel does not let user space have the device",
      "if you trust the device and whoever uses it: " +
        `echo 1 > /sys/module/${module}/parameters/allow_unsafe_interrupts`,
    );
  }
  if (error.code === "EBUSY")
    return because(error, "its IOMMU group is in use elsewhere", "stop that user first");
  return error;
}

/** What counts against a memlock limit. */
export type MemlockScope = "process" | "user";

/** Explains memory that could not be locked: `wanted` bytes more than the `mapped` ones. */
export function explainMemlock(
  error: SysError,
  wanted: number,
  mapped: number,
  kernel: Kernel,
  scope: MemlockScope,
): SysError {
  const limit = kernel.memlockLimit();
  const mib = (bytes: number | bigint) => `${Math.ceil(Number(bytes) / 2 ** 20)} MiB`;
  const needed = mib(wanted + mapped);
  if (limit === undefined) {
    return because(
      error,
      `the kernel can not pin ${mib(wanted)} (${mib(mapped)} are pinned)`,
      "free some memory",
    );
  }
  return because(
    error,
    `the device's memory must be locked: ${needed} in all, the memlock limit is ${Number(limit) / 1024} KiB` +
      (scope === "user" ? " for all processes of this user together" : ""),
    `raise it: ulimit -l ${Math.ceil((wanted + mapped) / 1024)}, or LimitMEMLOCK=infinity in the systemd unit`,
  );
}
