import { featureNames } from "../feature-names.ts";
import { VIRTIO_PCI_COMMON_Q_NDATA, VIRTIO_PCI_COMMON_Q_RESET, virtio_pci_common_cfg } from "../registers.ts";
import { statusNames } from "../status.ts";
import type { Structure, Structures } from "../structures.ts";
import type { NamedWrite, RegisterMap } from "./register-map.ts";

const NAMES = new Map<number, string>([
  ...Object.entries(virtio_pci_common_cfg.offsets).map(([name, at]) => [at, name] as const),
  [VIRTIO_PCI_COMMON_Q_NDATA, "queue_notify_data"],
  [VIRTIO_PCI_COMMON_Q_RESET, "queue_reset"],
]);

/** The registers of virtio 1.0 and later (virtio 1.3 §4.1.4). */
export class ModernRegisters implements RegisterMap {
  #queue = 0;
  #half = 0;

  constructor(
    private readonly structures: Structures,
    private readonly deviceType: number,
  ) {}

  name(region: number, offset: number, value: number): NamedWrite | undefined {
    const { common, notify, device } = this.structures;
    const within = (structure: Structure) =>
      region === structure.region &&
      offset >= structure.offset &&
      offset < structure.offset + structure.length;
    if (within(common)) return this.#common(NAMES.get(offset - common.offset), offset - common.offset, value);
    // The value of a doorbell is its queue's number, as NOTIFICATION_DATA is never negotiated.
    if (within(notify)) return { register: "queue_notify", value, queue: value };
    if (device && within(device)) return { register: `device config +${offset - device.offset}`, value };
    return undefined;
  }

  #common(register: string | undefined, at: number, value: number): NamedWrite {
    if (register === undefined) return { register: `common config +${at}`, value };
    if (register === "queue_select") this.#queue = value;
    if (register === "guest_feature_select") this.#half = value;
    if (register === "guest_feature" && this.#half < 2) {
      const bits = BigInt(value) << BigInt(32 * this.#half);
      return { register, value, meaning: { features: featureNames(this.deviceType, bits) } };
    }
    if (register === "device_status") return { register, value, meaning: { status: statusNames(value) } };
    return register.startsWith("queue_") ? { register, value, queue: this.#queue } : { register, value };
  }
}
