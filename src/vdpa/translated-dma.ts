import { hypervisorPresent } from "../hw/hypervisor.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { hasFeature, VIRTIO_F_ACCESS_PLATFORM } from "../hw/virtio/features.ts";

/**
 * Refuses a device whose DMA may bypass the IOMMU. Without ACCESS_PLATFORM an emulated device uses physical
 * addresses (virtio 1.3 §6), so the guest's addresses would hit this machine's own memory. A physical device can not
 * bypass the IOMMU, so it is let through where this is no virtual machine.
 */
export function requireTranslatedDma(
  name: string,
  deviceFeatures: bigint,
  inVirtualMachine = hypervisorPresent(),
): void {
  if (hasFeature(deviceFeatures, VIRTIO_F_ACCESS_PLATFORM) || !inVirtualMachine) return;
  throw new OperatorError(`${name} does not offer VIRTIO_F_ACCESS_PLATFORM`, {
    why: "its DMA would bypass the virtual IOMMU and overwrite this machine's own memory",
    remedy: "create it with iommu_platform=on (QEMU), or add --force if its DMA is translated all the same",
    kind: "refused",
  });
}
