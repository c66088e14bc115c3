import { OperatorError } from "../operator-error.ts";
import type { Kernel } from "./kernel.ts";

const SYS_PCI = "/sys/bus/pci/devices";
const CDEV_FOLDER = "/dev/vfio/devices";
export const IOMMUFD_PATH = "/dev/iommu";

/** vfio-pci itself and its variants for certain devices (virtio-vfio-pci, mlx5_vfio_pci …). */
const VFIO_DRIVER = /vfio[-_]pci/;
/** Drivers that do no DMA of their own and so may share a group with vfio-pci. */
const HARMLESS_DRIVERS = new Set(["pci-stub", "pcieport"]);

/** What the host says about a device before it is opened. */
export interface HostDevice {
  readonly bdf: string;
  /** IOMMU group number. */
  readonly group: string;
  /** Path of the VFIO character device of its own, which may be missing from /dev; undefined where the kernel has none. */
  readonly cdev: string | undefined;
}

/** Checks that a device exists, has an IOMMU group and is bound to vfio-pci. */
export function hostDevice(kernel: Kernel, bdf: string): HostDevice {
  const sysfs = `${SYS_PCI}/${bdf}`;
  if (!kernel.exists(sysfs)) {
    throw new OperatorError(`no PCI device ${bdf}`, {
      why: `${sysfs} does not exist`,
      remedy: "list the devices: vdpactl probe",
      kind: "not-ready",
    });
  }
  const driver = kernel.linkName(`${sysfs}/driver`);
  if (driver === undefined || !VFIO_DRIVER.test(driver)) {
    throw new OperatorError(`${bdf} is not bound to vfio-pci`, {
      why: driver ? `its driver is ${driver}` : "it has no driver",
      remedy: `vdpactl bind --pci ${bdf}`,
      kind: "not-ready",
    });
  }
  const group = kernel.linkName(`${sysfs}/iommu_group`);
  if (group === undefined || kernel.exists(`/dev/vfio/noiommu-${group}`)) {
    throw new OperatorError(`${bdf} has no IOMMU`, {
      why: "without one it could write to any memory of this machine",
      remedy:
        "switch the IOMMU on in the firmware and with intel_iommu=on or amd_iommu=on on the kernel's command " +
        "line; in a virtual machine, give it an IOMMU device",
      kind: "not-ready",
    });
  }
  return { bdf, group, cdev: cdevOf(kernel, sysfs) };
}

/** Every kernel since 6.1 has the folder; only one with VFIO_DEVICE_CDEV gives what is in it a device number. */
function cdevOf(kernel: Kernel, sysfs: string): string | undefined {
  const folder = `${sysfs}/vfio-dev`;
  const names = kernel.list(folder).filter((entry) => entry.startsWith("vfio"));
  const name = names.find((entry) => kernel.exists(`${folder}/${entry}/dev`));
  return name && `${CDEV_FOLDER}/${name}`;
}

/** A device whose driver keeps its group from user space. */
export interface GroupOffender {
  readonly bdf: string;
  readonly driver: string;
}

/** Devices of a group that keep it from user space, in the order of their addresses. */
export function groupOffenders(kernel: Kernel, group: string): GroupOffender[] {
  const folder = `/sys/kernel/iommu_groups/${group}/devices`;
  return kernel
    .list(folder)
    .sort()
    .flatMap((bdf) => {
      const driver = kernel.linkName(`${folder}/${bdf}/driver`);
      const harmless = !driver || VFIO_DRIVER.test(driver) || HARMLESS_DRIVERS.has(driver);
      return harmless ? [] : [{ bdf, driver }];
    });
}

/** Character devices of the other devices of a group. */
export function companionNodes(kernel: Kernel, bdf: string, group: string): string[] {
  const folder = `/sys/kernel/iommu_groups/${group}/devices`;
  const others = kernel.list(folder).filter((name) => name !== bdf);
  return others.flatMap((name) => cdevOf(kernel, `${folder}/${name}`) ?? []);
}

/** Processes that have one of these device nodes open, as `qemu-system-x86 (pid 812)`, as far as /proc shows them. */
export function holdersOf(kernel: Kernel, paths: readonly string[], exceptPid?: number): string[] {
  return kernel
    .list("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== exceptPid)
    .filter((pid) =>
      kernel.list(`/proc/${pid}/fd`).some((fd) => {
        const target = kernel.linkTarget(`/proc/${pid}/fd/${fd}`);
        return target !== undefined && paths.includes(target);
      }),
    )
    .map((pid) => `${kernel.text(`/proc/${pid}/comm`) ?? "a process"} (pid ${pid})`);
}
