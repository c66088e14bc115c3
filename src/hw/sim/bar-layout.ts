import type { SimConfig } from "./sim-options.ts";

/** BARs as QEMU lays them out: MSI-X table in BAR 1, virtio structures in BAR 4 (64-bit, so BAR 5 is its half). */
export const MSIX_BAR = 1;
export const VIRTIO_BAR = 4;
export const MSIX_BAR_SIZE = 4096;
export const MSIX_PBA = 2048;
export const CONFIG_SPACE_SIZE = 256;

/** struct virtio_pci_common_cfg up to and including queue_reset, virtio 1.3 §4.1.4.3. */
export const COMMON_SIZE = 60;
export const ISR_OFFSET = 0x1000;
export const ISR_SIZE = 1;
export const DEVICE_OFFSET = 0x2000;
export const NOTIFY_OFFSET = 0x3000;

/** Data queues and the control queue. */
export const queueCount = (config: SimConfig) => 2 * config.pairs + 1;

export const notifySize = (config: SimConfig) => queueCount(config) * config.notifyMultiplier;

/** Bytes of a region as in `PciFunction.regionSize`. */
export function regionSize(config: SimConfig, region: number): number {
  if (region === 7) return CONFIG_SPACE_SIZE;
  if (region === MSIX_BAR) return MSIX_BAR_SIZE;
  if (region !== VIRTIO_BAR) return 0;
  return 2 ** Math.ceil(Math.log2(NOTIFY_OFFSET + notifySize(config)));
}

export const doorbellOffset = (config: SimConfig, queue: number) =>
  NOTIFY_OFFSET + queue * config.notifyMultiplier;

/** The queue whose doorbell lies at this offset of the virtio BAR. */
export function queueOfDoorbell(config: SimConfig, offset: number): number | undefined {
  const queue = (offset - NOTIFY_OFFSET) / config.notifyMultiplier;
  return Number.isInteger(queue) && queue >= 0 && queue < queueCount(config) ? queue : undefined;
}
