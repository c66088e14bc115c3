import { SysError } from "../ffi/errno.ts";
import { groupOffenders, holdersOf } from "./host.ts";
import type { Kernel } from "./kernel.ts";

/** The same failed call, with the reason and remedy that fit the situation. */
function because(error: SysError, why: string, remedy: string): SysError {
  const detail = { why: `${why} (${error.code})`, remedy, kind: "not-ready" as const, cause: error };
  return new SysError(error.call, error.errno, error.path, detail);
}

/** Explains why a VFIO device node can not be opened. */
export function explainOpen(error: unknown, bdf: string, kernel: Kernel): unknown {
  if (!(error instanceof SysError) || error.path === undefined) return error;
  switch (error.code) {
    case "EACCES":
    case "EPERM":
      return because(
        error,
        "this user may not use it",
        `run as root, or give the device away: vdpactl bind --pci ${bdf} --owner USER`,
      );
    case "EBUSY":
      return explainBusy(error, [error.path], kernel);
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

/** Explains a refused attachment to the IOMMU: an unsafe platform, or other devices of the group. */
export function explainAttach(error: unknown, bdf: string, group: string, kernel: Kernel): unknown {
  if (!(error instanceof SysError)) return error;
  const offenders = groupOffenders(kernel, group);
  if (offenders.length > 0) {
    return because(
      error,
      `IOMMU group ${group} has devices with kernel drivers: ${offenders.join(", ")}`,
      `bind the whole group: vdpactl bind --pci ${bdf}`,
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

/** Explains memory that could not be locked. */
export function explainMemlock(error: SysError, wanted: number, mapped: number, kernel: Kernel): SysError {
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
    `the device's memory must be locked: ${needed} in all, the memlock limit is ${Number(limit) / 1024} KiB`,
    `raise it: ulimit -l ${Math.ceil((wanted + mapped) / 1024)}, or LimitMEMLOCK=infinity in the systemd unit`,
  );
}
