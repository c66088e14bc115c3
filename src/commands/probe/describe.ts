import type { PciDevice } from "../../hw/pci/device.ts";
import { deviceUses } from "../../hw/pci/device-use.ts";
import type { Host } from "../../hw/pci/host.ts";
import { isVfioDriver } from "../../hw/pci/iommu-group.ts";
import type { NameLookup } from "../../hw/pci/pci-ids.ts";
import { isTransitionalId, virtioTypeName } from "../../hw/pci/virtio-id.ts";
import { featureNames } from "../../hw/virtio/feature-names.ts";
import { hasFeature, VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_RESET } from "../../hw/virtio/features.ts";
import { capabilityRecords, doorbellOf, layoutOf } from "./capabilities.ts";
import { readKernelConfig } from "./kernel-config.ts";
import { findObstacles } from "./obstacles.ts";
import type { DeviceRecord, DeviceState, Features } from "./record.ts";
import type { RegisterReader, Registers } from "./registers.ts";
import { vfioAccess } from "./vfio-way.ts";

/** Where a description comes from. */
export interface Sources {
  readonly host: Host;
  readonly lookUp: NameLookup;
  readonly readRegisters: RegisterReader;
}

/**
 * Collects everything about one device. A kernel driver is left alone: what it knows comes from sysfs. Only a device
 * that is bound to VFIO and free is opened, by `readRegisters`.
 */
export function describeDevice(device: PciDevice, { host, lookUp, readRegisters }: Sources): DeviceRecord {
  const type = device.virtioType ?? 0;
  const uses = deviceUses(device, host);
  const state = stateOf(device, uses);
  const access = isVfioDriver(device.driver) ? vfioAccess(device, host) : undefined;
  const kernel = readKernelConfig(device, host);
  const live = state === "ready" ? readRegisters(device.bdf) : undefined;
  const registers = live && "features" in live ? live : undefined;
  const features = featuresOf(device, type, registers);
  const bits = features ? BigInt(features.mask) : undefined;
  const layout = layoutOf(device, isTransitionalId(device.device));
  const accessPlatform = offersAccessPlatform(bits, layout);
  const capabilities = capabilityRecords(device);
  const vectors = msixVectors(capabilities);
  const names = lookUp(device);
  return {
    bdf: device.bdf,
    type: virtioTypeName(type),
    type_id: type,
    vendor_name: names.vendor,
    device_name: names.device,
    vendor_id: hex4(device.vendor),
    device_id: hex4(device.device),
    revision: device.revision,
    layout,
    driver: device.driver ?? null,
    virtio_driver: device.virtio?.driver ?? null,
    interfaces: kernel.interfaces,
    iommu_group: device.iommu_group ?? null,
    numa_node: device.numa_node ?? null,
    state,
    used_by: uses,
    vfio: access?.way ?? null,
    queues: registers?.queues ?? kernel.queues,
    queue_size: registers?.queueSize ?? null,
    msix_vectors: vectors ?? null,
    features,
    config: registers?.config ?? kernel.config,
    // A kernel driver older than the feature would not accept it, so its absence there tells nothing.
    ring_reset:
      bits === undefined ? null : hasFeature(bits, VIRTIO_F_RING_RESET) || (registers ? false : null),
    access_platform: accessPlatform ?? null,
    doorbell: doorbellOf(device, layout),
    bars: device.resources.map(({ bar, kind, start, size, is64bit, prefetchable }) => ({
      bar,
      kind,
      start: `0x${start.toString(16)}`,
      size,
      is_64bit: is64bit,
      prefetchable,
    })),
    capabilities: capabilities ?? null,
    obstacles: findObstacles(device, { type, uses, accessPlatform, msixVectors: vectors, access }, host),
    note: live && "problem" in live ? live.problem : null,
  };
}

/** Legacy registers end at bit 31; a driver of the kernel accepts the bit whenever it is offered. */
function offersAccessPlatform(bits: bigint | undefined, layout: DeviceRecord["layout"]): boolean | undefined {
  if (layout === "legacy") return false;
  return bits === undefined ? undefined : hasFeature(bits, VIRTIO_F_ACCESS_PLATFORM);
}

function stateOf({ driver }: PciDevice, uses: readonly string[]): DeviceState {
  if (isVfioDriver(driver)) return uses.some((use) => use.startsWith("process ")) ? "held" : "ready";
  if (driver === undefined) return "unbound";
  return uses.length > 0 ? "in-use" : "kernel";
}

function featuresOf(device: PciDevice, type: number, registers: Registers | undefined): Features | null {
  const bits = registers?.features ?? device.virtio?.features;
  if (bits === undefined) return null;
  return {
    source: registers ? "device" : "kernel",
    mask: `0x${bits.toString(16)}`,
    names: featureNames(type, bits),
  };
}

/** 0 without MSI-X; undefined where the capabilities can not be read. */
function msixVectors(capabilities: ReturnType<typeof capabilityRecords>): number | undefined {
  if (!capabilities) return undefined;
  const size = capabilities.find(({ name }) => name === "MSI-X")?.values["table_size"];
  return typeof size === "number" ? size : 0;
}

const hex4 = (id: number) => id.toString(16).padStart(4, "0");
