// What a scenario says about its VM. Read on both sides: outside to build QEMU's command line, inside to find
// devices by name.

export interface NicShape {
  kind: "nic";
  name: string;
  /** Which register layouts the device offers. Without "modern" it has no ACCESS_PLATFORM. */
  layout?: "modern" | "transitional" | "legacy";
  /** Where the legacy registers are; QEMU by itself has them in I/O ports only. */
  legacyBar?: "ports" | "memory";
  packed?: boolean;
  /** Offers IN_ORDER: whatever it is given, it uses in that order. */
  inOrder?: boolean;
  /** False for a device whose queues can only be reset all together (no RING_RESET). */
  ringReset?: boolean;
  pairs?: number;
  pagePerVq?: boolean;
  /** False for a device without a control queue and what is steered through it. */
  controlQueue?: boolean;
  vectors?: number;
  mtu?: number;
  /** Mbit/s that it says its link has, with full duplex; it tells of neither by itself. */
  speed?: number;
  /** Has the capability by which PCI errors are reported (AER). */
  aer?: boolean;
  /** NICs that name the same wire hear each other. Without one the NIC is on its own. */
  wire?: string;
}

export interface DiskShape {
  kind: "disk";
  name: string;
  mebibytes: number;
  queues?: number;
}

export type DeviceShape = NicShape | DiskShape;

export interface VmShape {
  /** Every device stands behind a port of its own and so alone in its IOMMU group. At most 15. */
  devices: DeviceShape[];
  iommu?: "intel" | "virtio" | "none";
  mebibytes?: number;
  cpus?: number;
  /** Extra modules loaded before the drivers of the NICs. */
  modules?: string[];
  /** systemd and udev run as on any machine, and /etc, /usr and /var can be written to. Takes longer to boot. */
  systemd?: boolean;
}

/** Slot on the root bus of the port that device number `index` stands behind. */
export function portSlot(index: number): number {
  return 0x10 + index;
}

/** A stable address that tells the device's place: 52:54:00:0a:b0:01 is the second device. */
export function macOf(index: number): string {
  return "52:54:00:0a:b0:" + index.toString(16).padStart(2, "0");
}

export const cpusOf = (vm: VmShape): number => vm.cpus ?? 2;

export const pairsOf = (nic: NicShape): number => nic.pairs ?? 1;

/** Vectors QEMU gives the device: one per queue, one for the control queue, one for configuration changes. */
export const vectorsOf = (nic: NicShape): number => nic.vectors ?? 2 * pairsOf(nic) + 2;
