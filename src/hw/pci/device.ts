import { join } from "node:path";
import { OperatorError } from "../operator-error.ts";
import { HOST, type Host, listDirectory, readAttribute, readHead, readLinkName, readNumber } from "./host.ts";
import { type Resource, readResources } from "./resources.ts";
import { virtioType } from "./virtio-id.ts";

/** A PCI function as sysfs shows it; reading it touches neither the device nor its driver. */
export interface PciDevice {
  readonly bdf: string;
  /** Its directory in sysfs. */
  readonly path: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystem_vendor: number;
  readonly subsystem_device: number;
  readonly revision: number;
  /** 24-bit class code, for example 0x020000 Ethernet controller. */
  readonly class: number;
  /** Name of the driver that is bound. */
  readonly driver: string | undefined;
  readonly driver_override: string | undefined;
  /** Undefined when no IOMMU translates for the device. */
  readonly iommu_group: number | undefined;
  /** Undefined when the machine has no NUMA nodes. */
  readonly numa_node: number | undefined;
  /** BARs 0–5. */
  readonly resources: readonly Resource[];
  /** The first 256 bytes of the configuration space, 64 for users other than root. */
  readonly config: Uint8Array;
  /** The virtio device type when it is one: 1 network, 2 block. */
  readonly virtioType: number | undefined;
  /** What the kernel's virtio driver made of it; undefined when that is not bound. */
  readonly virtio: KernelVirtio | undefined;
}

/** The virtio device that the kernel's virtio-pci driver made of a PCI function. */
export interface KernelVirtio {
  /** `virtio0` */
  readonly name: string;
  /** The driver on the virtio bus, for example `virtio_net`. */
  readonly driver: string | undefined;
  /** Device status register as the kernel last read it. */
  readonly status: number;
  /** Feature bits that the kernel has *accepted*; the device may offer more. */
  readonly features: bigint;
}

// The capability list lies in these. In a virtual machine every word read is an exit, so they are read when asked for.
const CONFIG_BYTES = 256;

const devicesOf = (host: Host) => join(host.sys, "bus/pci/devices");

/** All PCI functions, in the order of their addresses. */
export function listPciDevices(host: Host = HOST): PciDevice[] {
  return listDirectory(devicesOf(host)).flatMap((bdf) => readPciDevice(bdf, host) ?? []);
}

/** @throws OperatorError (not-ready) when there is no such device */
export function findPciDevice(bdf: string, host: Host = HOST): PciDevice {
  const found = readPciDevice(bdf, host);
  if (found) return found;
  throw new OperatorError(`there is no PCI device ${bdf}`, {
    why: `${join(devicesOf(host), bdf)} does not exist`,
    remedy: "vdpactl probe",
    kind: "not-ready",
  });
}

/** A PCI function, or undefined when it is not there. */
export function readPciDevice(bdf: string, host: Host = HOST): PciDevice | undefined {
  const path = join(devicesOf(host), bdf);
  const number = (name: string) => readNumber(join(path, name)) ?? 0;
  const vendor = readNumber(join(path, "vendor"));
  if (vendor === undefined) return undefined;
  const ids = { vendor, device: number("device"), subsystem_device: number("subsystem_device") };
  const override = readAttribute(join(path, "driver_override"));
  const group = readLinkName(join(path, "iommu_group"));
  const node = readNumber(join(path, "numa_node"));
  let config: Uint8Array | undefined;
  return {
    bdf,
    path,
    ...ids,
    subsystem_vendor: number("subsystem_vendor"),
    revision: number("revision"),
    class: number("class"),
    driver: readLinkName(join(path, "driver")),
    // The kernel prints a pointer that is not set as (null).
    driver_override:
      override === undefined || override === "" || override === "(null)" ? undefined : override,
    iommu_group: group === undefined ? undefined : Number(group),
    numa_node: node === undefined || node < 0 ? undefined : node,
    resources: readResources(readAttribute(join(path, "resource")) ?? ""),
    get config() {
      config ??= readHead(join(path, "config"), CONFIG_BYTES) ?? new Uint8Array();
      return config;
    },
    virtioType: virtioType(ids),
    virtio: readKernelVirtio(path),
  };
}

function readKernelVirtio(path: string): KernelVirtio | undefined {
  const name = listDirectory(path).find((entry) => /^virtio\d+$/.test(entry));
  if (name === undefined) return undefined;
  return {
    name,
    driver: readLinkName(join(path, name, "driver")),
    status: readNumber(join(path, name, "status")) ?? 0,
    features: parseFeatures(readAttribute(join(path, name, "features")) ?? ""),
  };
}

/** Decodes sysfs' string of `0` and `1`, which begins with bit 0. Bits above 63 are dropped. */
export function parseFeatures(bits: string): bigint {
  let features = 0n;
  for (let bit = 0; bit < Math.min(bits.length, 64); bit++) {
    if (bits[bit] === "1") features |= 1n << BigInt(bit);
  }
  return features;
}

/** Whether a function is a bridge to another PCI bus (class 0604 or 0609); it may share a group with anything. */
export function isBridge(device: PciDevice): boolean {
  const code = device.class >>> 8;
  return code === 0x0604 || code === 0x0609;
}
