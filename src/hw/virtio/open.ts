import type { Log } from "../log.ts";
import { OperatorError } from "../operator-error.ts";
import { msixCapability } from "../pci/capabilities.ts";
import { CONFIG_REGION, type PciFunction } from "../pci-function.ts";
import { DEFAULT_LIMIT_MS } from "./bounded-wait.ts";
import { identify } from "./identity.ts";
import { LegacyTransport } from "./legacy-transport.ts";
import { ModernTransport } from "./modern-transport.ts";
import { findStructures } from "./structures.ts";
import type { VirtioTransport } from "./transport.ts";

/** Bytes of the legacy registers without MSI-X and device configuration. */
const LEGACY_HEADER = 20;
/** PCI revision that the legacy layout has (virtio 1.3 §4.1.2.3). */
const LEGACY_REVISION = 0;
const PCI_REVISION_ID = 0x08;

/**
 * Finds the virtio registers of a function: the modern ones where their capabilities are complete, else the legacy
 * ones. Nothing is written to the device.
 * @param options.limitMs longest time that any answer of the device may take, 5000 by default
 * @throws OperatorError when the function is no virtio device, is gone, or has neither layout
 */
export function openVirtio(fn: PciFunction, log?: Log, options: { limitMs?: number } = {}): VirtioTransport {
  const limitMs = options.limitMs ?? DEFAULT_LIMIT_MS;
  const { deviceType, transitional, config } = identify(fn);
  const found = findStructures(fn, config);
  if ("structures" in found) {
    log?.debug(`${fn.name}: virtio device type ${deviceType}, modern registers`, {
      event: "registers_found",
      device: fn.name,
      type: deviceType,
      layout: "modern",
    });
    return new ModernTransport(fn, deviceType, found.structures, limitMs);
  }
  const revision = fn.read(CONFIG_REGION, PCI_REVISION_ID, 1);
  if (transitional && revision === LEGACY_REVISION && fn.regionSize(0) >= LEGACY_HEADER) {
    log?.debug(
      `${fn.name}: virtio device type ${deviceType}, legacy registers (no ${found.missing} capability)`,
      { event: "registers_found", device: fn.name, type: deviceType, layout: "legacy" },
    );
    return new LegacyTransport(fn, deviceType, msixCapability(config), limitMs);
  }
  throw new OperatorError(`${fn.name} has no usable virtio registers`, {
    why: `it lacks the capabilities for ${found.missing}, and the legacy registers are not there either`,
    remedy: `look at its capabilities: vdpactl probe ${fn.name}`,
  });
}
