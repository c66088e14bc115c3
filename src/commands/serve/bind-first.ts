import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import type { DeviceOptions } from "./device-options.ts";

type Bind = (bdfs: readonly string[], log: Log) => Promise<unknown>;

/**
 * Binds the devices for which that was asked to vfio-pci, one after the other.
 * @param bind for tests
 * @throws OperatorError for an only device; of several, one that can not be bound does not stop the others
 */
export async function bindFirst(
  devices: readonly DeviceOptions[],
  log: Log,
  bind: Bind = bindDevices,
): Promise<void> {
  for (const { bind: wanted, pci } of devices) {
    if (!wanted || pci === undefined) continue;
    try {
      await bind([pci], log);
    } catch (error) {
      if (devices.length === 1) throw error;
      log.error(`${pci}: ${messageOf(error)}`, {
        event: "bind_failed",
        device: pci,
        error: messageOf(error),
      });
    }
  }
}

/** Loaded only where something is to be bound. */
const bindDevices: Bind = async (bdfs, log) =>
  await (await import("../../hw/pci/bind.ts")).bindDevices(bdfs, log);
