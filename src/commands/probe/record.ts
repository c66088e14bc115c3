/**
 * What `probe` tells of one virtio device. These are the keys of its JSON too (docs/cli.md): null means that it is
 * not known or does not apply.
 */
export interface DeviceRecord {
  readonly bdf: string;
  /** `net`, `blk`, … */
  readonly type: string;
  /** Virtio device type number. */
  readonly type_id: number;
  /** Names from pci.ids. */
  readonly vendor_name: string;
  readonly device_name: string;
  /** Four hexadecimal digits. */
  readonly vendor_id: string;
  readonly device_id: string;
  readonly revision: number;
  /** Which registers it has; null where the configuration space can not be read whole. */
  readonly layout: "modern" | "transitional" | "legacy" | null;
  readonly driver: string | null;
  /** Driver on the virtio bus, for example `virtio_net`. */
  readonly virtio_driver: string | null;
  /** The kernel's names for it: network interfaces, disks. */
  readonly interfaces: readonly string[];
  readonly iommu_group: number | null;
  readonly numa_node: number | null;
  readonly state: DeviceState;
  /** What depends on it or who holds it, in sentences. */
  readonly used_by: readonly string[];
  /** How `serve` opens it; null where it is not bound to VFIO, or this user may not open it. */
  readonly vfio: "iommufd" | "group" | null;
  /** Virtqueues, with the control queue. */
  readonly queues: number | null;
  /** Most entries of the first virtqueue, as its registers say. */
  readonly queue_size: number | null;
  readonly msix_vectors: number | null;
  readonly features: Features | null;
  readonly config: Readonly<Record<string, string | number | null>> | null;
  readonly ring_reset: boolean | null;
  readonly access_platform: boolean | null;
  /** The best way in which a guest's doorbell can reach it. */
  readonly doorbell: "host-notifier" | "ioeventfd" | null;
  readonly bars: readonly BarRecord[];
  /** Null where the configuration space can not be read whole. */
  readonly capabilities: readonly CapabilityRecord[] | null;
  readonly obstacles: readonly Obstacle[];
  /** Why the registers of a free device could not be read. */
  readonly note: string | null;
}

/**
 * - `kernel`: a kernel driver has it and nothing depends on it · `in-use`: something does
 * - `unbound`: it has no driver · `ready`: bound to VFIO and free · `held`: a process has it open
 */
export type DeviceState = "kernel" | "in-use" | "unbound" | "ready" | "held";

export interface Features {
  /** `device`: what the device offers. `kernel`: what the kernel's driver accepted; the device may offer more. */
  readonly source: "device" | "kernel";
  /** Hexadecimal with 0x. */
  readonly mask: string;
  readonly names: readonly string[];
}

export interface BarRecord {
  readonly bar: number;
  readonly kind: "memory" | "io";
  /** Hexadecimal with 0x. */
  readonly start: string;
  readonly size: number;
  readonly is_64bit: boolean;
  readonly prefetchable: boolean;
}

export interface CapabilityRecord {
  /** Offset in the configuration space. */
  readonly at: number;
  readonly id: number;
  readonly name: string;
  readonly values: Readonly<Record<string, number | boolean>>;
}

/** Something that keeps a device from being served. */
export interface Obstacle {
  readonly code: ObstacleCode;
  /** What, in one sentence. */
  readonly text: string;
  /** What to do about it; null where nothing can be done. */
  readonly remedy: string | null;
}

export type ObstacleCode =
  | "unsupported_type"
  | "no_iommu"
  | "group_shared"
  | "not_bound"
  | "in_use"
  | "held"
  | "no_vectors"
  | "no_access_platform"
  | "memlock"
  | "vfio_permission";
