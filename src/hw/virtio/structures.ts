import {
  VIRTIO_PCI_CAP_COMMON_CFG,
  VIRTIO_PCI_CAP_DEVICE_CFG,
  VIRTIO_PCI_CAP_ISR_CFG,
  VIRTIO_PCI_CAP_NOTIFY_CFG,
  VIRTIO_PCI_CAP_PCI_CFG,
  type VirtioCap,
  virtioCapabilities,
} from "../pci/capabilities.ts";
import type { PciFunction } from "../pci-function.ts";
import { virtio_pci_common_cfg } from "./registers.ts";

/** A structure of the modern layout that lies wholly within its BAR. */
export interface Structure {
  readonly region: number;
  /** First byte in the region. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** The places of the modern registers (virtio 1.3 §4.1.4). */
export interface Structures {
  readonly common: Structure;
  readonly notify: Structure & { readonly notify_off_multiplier: number };
  readonly isr: Structure;
  /** Device types without configuration have none. */
  readonly device: Structure | undefined;
  /** Every structure that the device lists, usable or not. */
  readonly all: readonly Structure[];
}

/** Finds the structures, or tells which of them the device lacks. */
export function findStructures(
  fn: PciFunction,
  config: Uint8Array,
): { structures: Structures } | { missing: string } {
  const caps = virtioCapabilities(config);
  // A device may list a structure several times, in the order of its preference; the first usable one is taken.
  const first = (type: number, minLength: number) => caps.find((cap) => usable(fn, cap, type, minLength));
  const common = first(VIRTIO_PCI_CAP_COMMON_CFG, virtio_pci_common_cfg.size);
  const notify = first(VIRTIO_PCI_CAP_NOTIFY_CFG, 2);
  const isr = first(VIRTIO_PCI_CAP_ISR_CFG, 1);
  const device = first(VIRTIO_PCI_CAP_DEVICE_CFG, 1);
  if (!common || !notify || !isr) {
    const lacking = [common ? "" : "common configuration", notify ? "" : "notification", isr ? "" : "ISR"];
    return { missing: lacking.filter(Boolean).join(", ") };
  }
  return {
    structures: {
      common: place(common),
      notify: { ...place(notify), notify_off_multiplier: notify.notify_off_multiplier ?? 0 },
      isr: place(isr),
      device: device && place(device),
      all: caps
        .filter(({ cfg_type, length }) => cfg_type !== VIRTIO_PCI_CAP_PCI_CFG && length > 0)
        .map(place),
    },
  };
}

const place = ({ bar, offset, length }: VirtioCap): Structure => ({ region: bar, offset, length });

function usable(fn: PciFunction, cap: VirtioCap, type: number, minLength: number): boolean {
  if (cap.cfg_type !== type || cap.length < minLength) return false;
  // Common configuration must be 4-byte aligned (virtio 1.3 §4.1.4.3.1): its fields are accessed whole.
  if (type === VIRTIO_PCI_CAP_COMMON_CFG && cap.offset % 4 !== 0) return false;
  if (type === VIRTIO_PCI_CAP_NOTIFY_CFG && cap.offset % 2 !== 0) return false;
  return cap.offset + cap.length <= fn.regionSize(cap.bar);
}
