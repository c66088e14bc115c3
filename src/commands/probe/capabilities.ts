import {
  msixCapability,
  VIRTIO_PCI_CAP_NOTIFY_CFG,
  virtioCapabilities,
  walkCapabilities,
} from "../../hw/pci/capabilities.ts";
import type { PciDevice } from "../../hw/pci/device.ts";
import type { CapabilityRecord, DeviceRecord } from "./record.ts";

/** Names as lspci writes them. */
const VIRTIO_NAMES: Readonly<Record<number, string>> = {
  1: "CommonCfg",
  2: "Notify",
  3: "ISR",
  4: "DeviceCfg",
  5: "PCICfg",
  8: "SharedMemory",
  9: "VendorData",
};
const NAMES: Readonly<Record<number, string>> = {
  1: "Power Management",
  5: "MSI",
  9: "Vendor Specific Information",
  16: "Express",
  17: "MSI-X",
  18: "SATA HBA",
  19: "PCI Advanced Features",
};
/** Users other than root see the 64 bytes of the header, and all capabilities lie behind them. */
const HEADER = 64;

/** Every capability in its order; undefined where they can not be read. */
export function capabilityRecords({ config }: PciDevice): CapabilityRecord[] | undefined {
  if (config.length <= HEADER) return undefined;
  const virtio = new Map(virtioCapabilities(config).map((cap) => [cap.at, cap]));
  const msix = msixCapability(config);
  return walkCapabilities(config).map(({ id, offset }) => {
    const cap = virtio.get(offset);
    if (cap) {
      const { cfg_type, at, ...values } = cap;
      return {
        at,
        id,
        name: `${NAMES[id]}: VirtIO: ${VIRTIO_NAMES[cfg_type]}`,
        values: { cfg_type, ...values },
      };
    }
    if (msix?.at === offset) {
      const { at, enabled, tableSize, tableBar, tableOffset, pbaBar, pbaOffset } = msix;
      const values = {
        enabled,
        table_size: tableSize,
        table_bar: tableBar,
        table_offset: tableOffset,
        pba_bar: pbaBar,
        pba_offset: pbaOffset,
      };
      return { at, id, name: "MSI-X", values };
    }
    return {
      at: offset,
      id,
      name: NAMES[id] ?? `capability 0x${id.toString(16).padStart(2, "0")}`,
      values: {},
    };
  });
}

const COMMON = 1;
const PAGE = 4096;

/** Which register layout a device has: the modern one needs its capabilities, the legacy one a transitional id. */
export function layoutOf({ device, config }: PciDevice, transitionalId: boolean): DeviceRecord["layout"] {
  if (!transitionalId) return "modern";
  if (config.length <= HEADER) return null;
  return virtioCapabilities(config).some(({ cfg_type }) => cfg_type === COMMON) && device < 0x1040
    ? "transitional"
    : "legacy";
}

/**
 * How doorbells can be rung: mapped into the guest where each has a page for itself in memory, else by the kernel
 * (ioeventfd, which serves memory and ports alike). Null where the capabilities can not be read.
 */
export function doorbellOf(device: PciDevice, layout: DeviceRecord["layout"]): DeviceRecord["doorbell"] {
  if (layout === "legacy") return "ioeventfd";
  const notify = virtioCapabilities(device.config).find(
    ({ cfg_type }) => cfg_type === VIRTIO_PCI_CAP_NOTIFY_CFG,
  );
  if (!notify) return null;
  const multiplier = notify.notify_off_multiplier ?? 0;
  const bar = device.resources.find(({ bar }) => bar === notify.bar);
  const ownPages = multiplier >= PAGE && multiplier % PAGE === 0 && notify.offset % PAGE === 0;
  return ownPages && bar?.kind === "memory" ? "host-notifier" : "ioeventfd";
}
