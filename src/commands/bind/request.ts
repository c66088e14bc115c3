import { usageError } from "../../cli/arguments.ts";
import type { BindAction, BindRequest } from "../../hw/pci/bind-plan.ts";
import { ruledDevices } from "../../hw/pci/boot-rule.ts";
import type { Host } from "../../hw/pci/host.ts";
import type { NodeOwner } from "../../hw/pci/node-owner.ts";
import { rememberedDevices } from "../../hw/pci/original-driver.ts";

export interface BindFlags {
  readonly pci: readonly string[];
  readonly driver: string | undefined;
  readonly unbind: boolean;
  readonly restore: boolean;
  readonly owner: NodeOwner | undefined;
  readonly force: boolean;
  readonly persist: boolean;
}

/** @throws OperatorError (usage) for flags that exclude each other, and where a device is missing */
export function requestOf(flags: BindFlags, host: Host): BindRequest {
  const chosen = [
    flags.driver !== undefined && "--driver",
    flags.unbind && "--unbind",
    flags.restore && "--restore",
  ].filter((name) => name !== false);
  if (chosen.length > 1) throw usageError(`${chosen.join(" and ")} exclude each other`);
  if (flags.owner && (flags.unbind || flags.restore)) {
    throw usageError(
      `--owner and ${chosen[0]} exclude each other`,
      "only devices bound to VFIO have such nodes",
    );
  }
  if (flags.persist && flags.unbind) {
    throw usageError(
      "--persist and --unbind exclude each other",
      "at boot the kernel gives each device to a driver",
      "vdpactl bind --restore ends what --persist began",
    );
  }
  if (flags.driver !== undefined && !/^[\w.-]+$/.test(flags.driver)) {
    throw usageError(`"${flags.driver}" is no driver name`, undefined, "ls /sys/bus/pci/drivers");
  }
  const bdfs = flags.restore && flags.pci.length === 0 ? awayDevices(host) : flags.pci;
  if (bdfs.length === 0 && !flags.restore) {
    throw usageError("which device is to be bound?", "no --pci is given", "vdpactl probe lists the devices");
  }
  return { bdfs, action: actionOf(flags), force: flags.force, owner: flags.owner, persist: flags.persist };
}

/** Devices that this boot or a later one takes from their first driver. */
const awayDevices = (host: Host) => [...new Set([...rememberedDevices(host), ...ruledDevices(host)])];

function actionOf({ driver, unbind, restore }: BindFlags): BindAction {
  if (unbind) return { kind: "unbind" };
  if (restore) return { kind: "restore" };
  return { kind: "bind", driver: driver ?? "vfio-pci" };
}
