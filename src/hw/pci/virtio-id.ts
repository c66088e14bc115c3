/** Device types by number (virtio 1.3 §5), named as their drivers and this tool's options name them. */
const TYPES: Readonly<Record<number, readonly [name: string, description: string]>> = {
  1: ["net", "network device"],
  2: ["blk", "block device"],
  3: ["console", "console"],
  4: ["rng", "entropy source"],
  5: ["balloon", "memory balloon"],
  6: ["iomem", "I/O memory"],
  7: ["rpmsg", "remote processor messaging"],
  8: ["scsi", "SCSI host"],
  9: ["9p", "9P transport"],
  10: ["wlan", "mac80211 wireless"],
  11: ["rproc-serial", "remote processor serial"],
  12: ["caif", "CAIF"],
  13: ["balloon", "memory balloon"],
  16: ["gpu", "GPU"],
  17: ["clock", "clock"],
  18: ["input", "input device"],
  19: ["vsock", "socket device"],
  20: ["crypto", "crypto device"],
  21: ["signal-dist", "signal distribution module"],
  22: ["pstore", "pstore device"],
  23: ["iommu", "IOMMU"],
  24: ["mem", "memory device"],
  25: ["sound", "sound device"],
  26: ["fs", "file system"],
  27: ["pmem", "persistent memory"],
  28: ["rpmb", "RPMB device"],
  29: ["hwsim", "mac80211 simulated radio"],
  30: ["video-encoder", "video encoder"],
  31: ["video-decoder", "video decoder"],
  32: ["scmi", "SCMI device"],
  33: ["nitro", "NitroSecureModule"],
  34: ["i2c", "I2C adapter"],
  35: ["watchdog", "watchdog"],
  36: ["can", "CAN device"],
  38: ["parameter-server", "parameter server"],
  39: ["audio-policy", "audio policy device"],
  40: ["bt", "Bluetooth device"],
  41: ["gpio", "GPIO device"],
  42: ["rdma", "RDMA device"],
  43: ["camera", "camera"],
  44: ["ism", "ISM device"],
  45: ["spi", "SPI controller"],
};

export const VIRTIO_VENDOR = 0x1af4;
export const VIRTIO_NET = 1;
export const VIRTIO_BLK = 2;

/** Types of transitional devices whose subsystem id does not tell (virtio 1.3 §4.1.2.1). */
const TRANSITIONAL: ReadonlyMap<number, number> = new Map([
  [0x1000, 1],
  [0x1001, 2],
  [0x1002, 5],
  [0x1003, 3],
  [0x1004, 8],
  [0x1005, 4],
  [0x1009, 9],
]);

/** The ids in a function's configuration space that say what it is. */
export interface PciIds {
  readonly vendor: number;
  readonly device: number;
  readonly subsystem_device: number;
}

/** The virtio device type, or undefined for a function that is no virtio device (virtio 1.3 §4.1.2). */
export function virtioType({ vendor, device, subsystem_device }: PciIds): number | undefined {
  if (vendor !== VIRTIO_VENDOR || device < 0x1000 || device > 0x107f) return undefined;
  if (device >= 0x1040) return device - 0x1040;
  return TRANSITIONAL.get(device) ?? (subsystem_device || undefined);
}

/** Whether the device id is one of those that old drivers know. */
export function isTransitionalId(device: number): boolean {
  return device >= 0x1000 && device < 0x1040;
}

/** `net`, `blk`, …, or `type-N` for a type without a name. */
export function virtioTypeName(type: number): string {
  return TYPES[type]?.[0] ?? `type-${type}`;
}

/** `network device`, … */
export function virtioTypeDescription(type: number): string {
  return TYPES[type]?.[1] ?? `device of type ${type}`;
}
