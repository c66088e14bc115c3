/** Device status bits (virtio 1.3 §2.1). */
export const VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
export const VIRTIO_CONFIG_S_DRIVER = 2;
export const VIRTIO_CONFIG_S_DRIVER_OK = 4;
export const VIRTIO_CONFIG_S_FEATURES_OK = 8;
export const VIRTIO_CONFIG_S_SUSPEND = 16;
export const VIRTIO_CONFIG_S_NEEDS_RESET = 0x40;
export const VIRTIO_CONFIG_S_FAILED = 0x80;

const NAMES: readonly [number, string][] = [
  [VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE"],
  [VIRTIO_CONFIG_S_DRIVER, "DRIVER"],
  [VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK"],
  [VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK"],
  [VIRTIO_CONFIG_S_SUSPEND, "SUSPEND"],
  [VIRTIO_CONFIG_S_NEEDS_RESET, "NEEDS_RESET"],
  [VIRTIO_CONFIG_S_FAILED, "FAILED"],
];

/** The names of the bits set, in ascending order; a bit without a name is `bit_N`. */
export function statusNames(status: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 8; bit++) {
    if (status & (1 << bit)) names.push(NAMES.find(([mask]) => mask === 1 << bit)?.[1] ?? `bit_${bit}`);
  }
  return names;
}
