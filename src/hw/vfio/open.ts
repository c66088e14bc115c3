import type { SysError } from "../ffi/errno.ts";
import type { Log } from "../log.ts";
import type { PciFunction } from "../pci-function.ts";
import { isAbsentNode, isClosedNode } from "./explain.ts";
import { type HostDevice, hostDevice } from "./host.ts";
import { type Kernel, systemKernel } from "./kernel.ts";
import { openThroughCdev } from "./open-cdev.ts";
import { openThroughGroup } from "./open-group.ts";
import { type OpenDevice, VfioFunction } from "./vfio-function.ts";

export interface VfioOptions {
  readonly log: Log;
  /** UUID that the owner of the physical function has set, for a virtual function of such a one. */
  readonly vfToken?: string | undefined;
}

/**
 * Opens a device that is bound to vfio-pci and switches it on: through its own character device and iommufd where the
 * kernel offers both and this user may open them, else through its IOMMU group and a container. The kernel has reset it
 * by then where it can.
 * @param bdf full BDF such as `0000:00:04.0`
 * @throws OperatorError (kind `not-ready`) when it is not bound, has no IOMMU, is not all of its group, is in use or
 *   may not be used by this user; each with the reason and what to do. Nothing stays open then.
 */
export function openVfio(bdf: string, options: VfioOptions, kernel: Kernel = systemKernel): PciFunction {
  const host = hostDevice(kernel, bdf);
  const open = openEitherWay(kernel, host, options);
  options.log.debug(`${bdf}: opened ${open.device.path}${open.group === undefined ? " with iommufd" : ""}`, {
    event: "vfio_opened",
    device: bdf,
    path: open.device.path,
  });
  try {
    return new VfioFunction(bdf, open, options.log);
  } catch (error) {
    open.closeFds();
    throw error;
  }
}

function openEitherWay(kernel: Kernel, host: HostDevice, { log, vfToken }: VfioOptions): OpenDevice {
  // A VF token goes with the group's call: for the character device only the newest kernels take one.
  if (host.cdev === undefined || vfToken !== undefined) return openThroughGroup(kernel, host, vfToken);
  try {
    return openThroughCdev(kernel, host, host.cdev);
  } catch (error) {
    if (!isClosedNode(error)) throw error;
    return openGroupInstead(kernel, host, error, log);
  }
}

/** Containers, and users to whom a device was given, often have the nodes of one way only. */
function openGroupInstead(kernel: Kernel, host: HostDevice, closed: SysError, log: Log): OpenDevice {
  try {
    const open = openThroughGroup(kernel, host, undefined);
    log.info(
      `${host.bdf}: opened through its IOMMU group, as ${closed.path} can not be opened (${closed.code})`,
      { event: "vfio_group_used", device: host.bdf, path: closed.path, error: closed.code },
    );
    return open;
  } catch (error) {
    // A kernel may have no groups at all.
    throw isAbsentNode(error) ? closed : error;
  }
}
