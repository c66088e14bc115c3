import { OperatorError } from "../operator-error.ts";
import { CONFIG_REGION, type PciFunction } from "../pci-function.ts";
import { deviceGone } from "./device-error.ts";

const VIRTIO_VENDOR = 0x1af4;
const MODERN_BASE = 0x1040;
/** Transitional PCI device ids whose type is not to be had from the subsystem id alone (virtio 1.3 §4.1.2.1). */
const TRANSITIONAL: Readonly<Record<number, number>> = {
  4096: 1,
  4097: 2,
  4098: 5,
  4099: 3,
  4100: 8,
  4101: 4,
  4105: 9,
};
const CONFIG_BYTES = 256;

/** What a function's configuration space says about its virtio side. */
export interface Identity {
  /** Virtio device type (virtio 1.3 §5). */
  readonly deviceType: number;
  /** Whether the id is one of those that may have the legacy registers. */
  readonly transitional: boolean;
  /** PCI configuration space, 256 bytes. */
  readonly config: Uint8Array;
}

/** Reads the configuration space; throws for a device that is gone or is no virtio device. */
export function identify(fn: PciFunction): Identity {
  const config = readConfigSpace(fn);
  const view = new DataView(config.buffer);
  if (view.getUint32(0, true) === 0xffffffff) throw deviceGone(fn);
  const vendor = view.getUint16(0, true);
  const device = view.getUint16(2, true);
  // Virtio 1.3 §4.1.2: vendor 0x1AF4, device ids 0x1000 to 0x107F.
  if (vendor !== VIRTIO_VENDOR || device < 0x1000 || device > 0x107f) {
    throw new OperatorError(`${fn.name} is no virtio device`, {
      why: `its PCI id is ${hex4(vendor)}:${hex4(device)}, virtio devices are 1af4:1000 to 1af4:107f`,
      remedy: "list the virtio devices of this machine: vdpactl probe",
      kind: "usage",
    });
  }
  const transitional = device < MODERN_BASE;
  const subsystem = view.getUint16(0x2e, true);
  const deviceType = transitional ? (TRANSITIONAL[device] ?? subsystem) : device - MODERN_BASE;
  return { deviceType, transitional, config };
}

function readConfigSpace(fn: PciFunction): Uint8Array {
  const size = Math.min(CONFIG_BYTES, fn.regionSize(CONFIG_REGION));
  if (size < 64) {
    throw new OperatorError(`${fn.name}: configuration space of ${size} bytes`, {
      why: "a PCI function has at least 64",
    });
  }
  const config = new Uint8Array(size);
  const view = new DataView(config.buffer);
  for (let at = 0; at + 4 <= size; at += 4) view.setUint32(at, fn.read(CONFIG_REGION, at, 4), true);
  return config;
}

const hex4 = (id: number) => id.toString(16).padStart(4, "0");
