import type { Log } from "../../hw/log.ts";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";
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
      if (devices.length === 1) throw withoutForce(error, pci);
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

/**
 * The flag that takes a device from what uses it is that of `vdpactl bind`. Serve's own `--force` promises something
 * else, that the device's DMA is translated, so that it takes nothing from anybody.
 */
function withoutForce(error: unknown, bdf: string): unknown {
  if (!(error instanceof OperatorError) || error.remedy === undefined) return error;
  const { what, why, kind } = error;
  const remedy = error.remedy.replace(/\bwith --force\b/, `with vdpactl bind --force ${bdf}`);
  return remedy === error.remedy ? error : new OperatorError(what, { why, remedy, kind, cause: error });
}
