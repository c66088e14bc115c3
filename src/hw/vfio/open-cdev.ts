import { SysError } from "../ffi/errno.ts";
import { DeviceFile } from "./device-file.ts";
import { explainAttach, explainBusy, explainOpen } from "./explain.ts";
import { FdStack } from "./fd-stack.ts";
import { type HostDevice, IOMMUFD_PATH } from "./host.ts";
import { allocateIoas, IommufdIommu } from "./iommufd-iommu.ts";
import type { Kernel } from "./kernel.ts";
import { vfio_device_attach_iommufd_pt, vfio_device_bind_iommufd } from "./structs.ts";
import type { OpenDevice } from "./vfio-function.ts";

/** Opens a device through its own character device and iommufd (Documentation/driver-api/vfio.rst). */
export function openThroughCdev(kernel: Kernel, host: HostDevice, cdev: string): OpenDevice {
  const fds = new FdStack(kernel);
  try {
    return openSteps(kernel, host, cdev, fds);
  } catch (error) {
    fds.close();
    throw error;
  }
}

function openSteps(kernel: Kernel, { bdf, group }: HostDevice, cdev: string, fds: FdStack): OpenDevice {
  const openNode = (path: string) => {
    try {
      return fds.add(kernel.open(path));
    } catch (error) {
      throw explainOpen(error, bdf, kernel);
    }
  };
  const iommufd = openNode(IOMMUFD_PATH);
  const path = `${cdev} (${bdf})`;
  const device = new DeviceFile(kernel, openNode(cdev), path);
  const bind = vfio_device_bind_iommufd.alloc({ argsz: vfio_device_bind_iommufd.size, iommufd });
  try {
    device.ioctl("VFIO_DEVICE_BIND_IOMMUFD", bind);
  } catch (error) {
    // EINVAL is what a second opener of the character device gets, EBUSY one against an open group.
    if (error instanceof SysError && ["EBUSY", "EINVAL"].includes(error.code)) {
      // This process has the node open itself by now.
      throw explainBusy(error, [cdev, `/dev/vfio/${group}`], kernel, process.pid);
    }
    throw explainAttach(error, bdf, group, kernel);
  }
  const ioasId = allocateIoas(kernel, iommufd);
  const attach = vfio_device_attach_iommufd_pt.alloc({
    argsz: vfio_device_attach_iommufd_pt.size,
    pt_id: ioasId,
  });
  try {
    device.ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT", attach);
  } catch (error) {
    throw explainAttach(error, bdf, group, kernel);
  }
  const iommu = new IommufdIommu(kernel, iommufd, ioasId);
  return { device, iommu, group: undefined, closeFds: () => fds.close() };
}
