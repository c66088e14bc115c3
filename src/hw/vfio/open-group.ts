import { isErrno } from "../ffi/errno.ts";
import { cString } from "../ffi/libc.ts";
import { OperatorError } from "../operator-error.ts";
import { DeviceFile } from "./device-file.ts";
import { bindRemedy, explainAttach, explainOpen, nameOffenders } from "./explain.ts";
import { FdStack } from "./fd-stack.ts";
import { groupOffenders, type HostDevice } from "./host.ts";
import type { Kernel } from "./kernel.ts";
import { vfio_group_status } from "./structs.ts";
import { Type1Iommu } from "./type1-iommu.ts";
import { VFIO_API_VERSION, VFIO_GROUP_FLAGS_VIABLE, VFIO_TYPE1v2_IOMMU } from "./uapi.ts";
import type { OpenDevice } from "./vfio-function.ts";

const CONTAINER_PATH = "/dev/vfio/vfio";

/** Opens a device through its IOMMU group and a container (linux/vfio.h, "Group and Container"). */
export function openThroughGroup(kernel: Kernel, host: HostDevice, vfToken: string | undefined): OpenDevice {
  const fds = new FdStack(kernel);
  try {
    return openSteps(kernel, host, vfToken, fds);
  } catch (error) {
    fds.close();
    throw error;
  }
}

function openSteps(
  kernel: Kernel,
  { bdf, group, cdev }: HostDevice,
  vfToken: string | undefined,
  fds: FdStack,
): OpenDevice {
  const groupPath = `/dev/vfio/${group}`;
  const openNode = (path: string) => {
    try {
      return fds.add(kernel.open(path));
    } catch (error) {
      throw explainOpen(error, bdf, kernel, cdev === undefined ? [] : [cdev]);
    }
  };
  const container = openNode(CONTAINER_PATH);
  checkApi(kernel, container);
  const groupFd = openNode(groupPath);
  checkViable(kernel, groupFd, groupPath, bdf, group);
  try {
    kernel.ioctl(groupFd, "VFIO_GROUP_SET_CONTAINER", Int32Array.of(container), groupPath);
    kernel.ioctl(container, "VFIO_SET_IOMMU", VFIO_TYPE1v2_IOMMU, CONTAINER_PATH);
  } catch (error) {
    throw explainAttach(error, bdf, group, kernel);
  }
  const path = `${groupPath} (${bdf})`;
  const device = new DeviceFile(kernel, fds.add(deviceFd(kernel, groupFd, path, bdf, vfToken)), path);
  const iommu = new Type1Iommu(kernel, container, CONTAINER_PATH);
  return { device, iommu, group: groupFd, closeFds: () => fds.close() };
}

function checkApi(kernel: Kernel, container: number): void {
  const version = kernel.ioctl(container, "VFIO_GET_API_VERSION", 0, CONTAINER_PATH);
  const type1 = kernel.ioctl(container, "VFIO_CHECK_EXTENSION", VFIO_TYPE1v2_IOMMU, CONTAINER_PATH);
  if (version === VFIO_API_VERSION && type1 > 0) return;
  throw new OperatorError(`${CONTAINER_PATH} can not be used`, {
    why: type1 > 0 ? `its API version is ${version}, not ${VFIO_API_VERSION}` : "it has no type 1 v2 IOMMU",
    remedy: "modprobe vfio_iommu_type1",
    kind: "not-ready",
  });
}

function checkViable(kernel: Kernel, fd: number, path: string, bdf: string, group: string): void {
  const status = vfio_group_status.alloc({ argsz: vfio_group_status.size });
  kernel.ioctl(fd, "VFIO_GROUP_GET_STATUS", status, path);
  if (vfio_group_status.read(status).flags & VFIO_GROUP_FLAGS_VIABLE) return;
  const offenders = groupOffenders(kernel, group);
  throw new OperatorError(`IOMMU group ${group} of ${bdf} can not be used`, {
    why: `all of a group goes to user space or none of it, and in the way is ${nameOffenders(offenders) || "another owner of the group"}`,
    remedy: offenders.length > 0 ? bindRemedy(bdf, offenders) : "stop that owner first",
    kind: "not-ready",
  });
}

function deviceFd(
  kernel: Kernel,
  groupFd: number,
  path: string,
  bdf: string,
  vfToken: string | undefined,
): number {
  // The token of the physical function's owner rides on the name.
  const name = cString(vfToken === undefined ? bdf : `${bdf} vf_token=${vfToken}`);
  try {
    return kernel.ioctl(groupFd, "VFIO_GROUP_GET_DEVICE_FD", name, path);
  } catch (error) {
    if (!isErrno(error, "EACCES") && !(isErrno(error, "EINVAL") && vfToken !== undefined)) throw error;
    throw new OperatorError(`${bdf} does not open`, {
      why:
        vfToken === undefined ? "its physical function has a VF token" : "the VF token is not the right one",
      remedy: "give the token that the owner of the physical function has set",
      kind: "not-ready",
      cause: error,
    });
  }
}
