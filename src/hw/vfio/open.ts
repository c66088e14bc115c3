import type { Log } from "../log.ts";
import type { PciFunction } from "../pci-function.ts";
import { hostDevice } from "./host.ts";
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
 * kernel offers both, else through its IOMMU group and a container. The kernel has reset it by then where it can.
 * @param bdf full BDF such as `0000:00:04.0`
 * @throws OperatorError (kind `not-ready`) when it is not bound, has no IOMMU, is not all of its group, is in use or
 *   may not be used by this user; each with the reason and what to do. Nothing stays open then.
 */
export function openVfio(bdf: string, options: VfioOptions, kernel: Kernel = systemKernel): PciFunction {
  const host = hostDevice(kernel, bdf);
  // A VF token goes with the group's call: for the character device only the newest kernels take one.
  const cdev = options.vfToken === undefined ? host.cdev : undefined;
  const open: OpenDevice = cdev
    ? openThroughCdev(kernel, host, cdev)
    : openThroughGroup(kernel, host, options.vfToken);
  options.log.debug(`${bdf}: opened ${open.device.path}${cdev ? " with iommufd" : ""}`);
  try {
    return new VfioFunction(bdf, open, options.log);
  } catch (error) {
    open.closeFds();
    throw error;
  }
}
