import type { PciFunction } from "../pci-function.ts";
import { deviceError } from "./device-error.ts";
import { VIRTIO_PCI_QUEUE_ADDR_SHIFT, VIRTIO_PCI_VRING_ALIGN } from "./registers.ts";
import { splitRingLayout } from "./ring-layout.ts";
import type { QueueSetup } from "./transport.ts";

/**
 * Refuses a ring that does not lie as the legacy layout dictates it (virtio 1.3 §2.7.2): the device's size, and all
 * three parts in one piece.
 * @param size entries of the device's queue
 * @returns the page frame number that the queue is given by
 */
export function legacyPageNumber(fn: PciFunction, index: number, setup: QueueSetup, size: number): number {
  const refuse = (why: string) =>
    deviceError(
      fn,
      `queue ${index} can not be set up`,
      why,
      "use the modern layout (disable-modern=off), or a front-end that takes the device's ring size and layout",
    );
  if (setup.size !== size)
    throw refuse(`the legacy layout dictates ${size} entries, ${setup.size} are wanted`);
  const layout = splitRingLayout(size, VIRTIO_PCI_VRING_ALIGN);
  if (setup.desc % BigInt(VIRTIO_PCI_VRING_ALIGN)) {
    throw refuse(`the legacy layout wants the ring page aligned, it is at 0x${setup.desc.toString(16)}`);
  }
  if (
    setup.driver !== setup.desc + BigInt(layout.driver) ||
    setup.device !== setup.desc + BigInt(layout.device)
  ) {
    throw refuse(
      `the legacy layout wants the available ring at +${layout.driver} and the used ring at +${layout.device}, ` +
        `they are at +${setup.driver - setup.desc} and +${setup.device - setup.desc}`,
    );
  }
  const pfn = setup.desc >> BigInt(VIRTIO_PCI_QUEUE_ADDR_SHIFT);
  // A page number of 0 would mean "no ring".
  if (pfn < 1n || pfn > 0xffffffffn) {
    throw refuse(`its address 0x${setup.desc.toString(16)} is no 32-bit page number above 0`);
  }
  return Number(pfn);
}
