import { featureNames } from "../feature-names.ts";
import {
  VIRTIO_MSI_CONFIG_VECTOR,
  VIRTIO_MSI_QUEUE_VECTOR,
  VIRTIO_PCI_GUEST_FEATURES,
  VIRTIO_PCI_QUEUE_NOTIFY,
  VIRTIO_PCI_QUEUE_PFN,
  VIRTIO_PCI_QUEUE_SEL,
  VIRTIO_PCI_STATUS,
} from "../registers.ts";
import { statusNames } from "../status.ts";
import type { NamedWrite, RegisterMap } from "./register-map.ts";

const BAR0 = 0;
const NAMES = new Map<number, string>([
  [VIRTIO_PCI_GUEST_FEATURES, "GUEST_FEATURES"],
  [VIRTIO_PCI_QUEUE_PFN, "QUEUE_PFN"],
  [VIRTIO_PCI_QUEUE_SEL, "QUEUE_SEL"],
  [VIRTIO_PCI_QUEUE_NOTIFY, "QUEUE_NOTIFY"],
  [VIRTIO_PCI_STATUS, "STATUS"],
  // Without MSI-X the configuration begins here; nobody writes to that.
  [VIRTIO_MSI_CONFIG_VECTOR, "MSI_CONFIG_VECTOR"],
  [VIRTIO_MSI_QUEUE_VECTOR, "MSI_QUEUE_VECTOR"],
]);

/** The registers of virtio 0.9.5 (virtio 1.3 §4.1.4.10), under the kernel's names for them. */
export class LegacyRegisters implements RegisterMap {
  #queue = 0;

  constructor(private readonly deviceType: number) {}

  name(region: number, offset: number, value: number): NamedWrite | undefined {
    if (region !== BAR0) return undefined;
    const register = NAMES.get(offset);
    switch (register) {
      case undefined:
        return { register: `legacy +${offset}`, value };
      case "GUEST_FEATURES":
        return { register, value, meaning: { features: featureNames(this.deviceType, BigInt(value)) } };
      case "STATUS":
        return { register, value, meaning: { status: statusNames(value) } };
      case "QUEUE_NOTIFY":
        return { register, value, queue: value };
      case "QUEUE_SEL":
        this.#queue = value;
        return { register, value, queue: value };
      case "QUEUE_PFN":
      case "MSI_QUEUE_VECTOR":
        return { register, value, queue: this.#queue };
      default:
        return { register, value };
    }
  }
}
