import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import type { DeviceOptions } from "./device-options.ts";

/**
 * Binds the devices for which that was asked to vfio-pci, one after the other.
 * @throws OperatorError for an only device; of several, one that can not be bound does not stop the others
 */
export async function bindFirst(devices: readonly DeviceOptions[], log: Log): Promise<void> {
  const wanted = devices.flatMap(({ bind, pci }) => (bind && pci !== undefined ? [pci] : []));
  if (wanted.length === 0) return;
  const { bindDevices } = await import("../../hw/pci/bind.ts");
  for (const bdf of wanted) {
    try {
      await bindDevices([bdf], log);
    } catch (error) {
      if (devices.length === 1) throw error;
      log.error(`${bdf}: ${messageOf(error)}`, {
        event: "bind_failed",
        device: bdf,
        error: messageOf(error),
      });
    }
  }
}
