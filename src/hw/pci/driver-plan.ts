import { join } from "node:path";
import type { PciDevice } from "./device.ts";
import type { Host } from "./host.ts";

/** One write to a sysfs attribute. */
export interface SysfsWrite {
  readonly path: string;
  /** Text as `echo` would write it, without the line end; empty to clear. */
  readonly value: string;
  /** The kernel may not return from it before other processes let go of the device. */
  readonly mayBlock?: boolean;
}

/** Which driver a device is to have. */
export type DriverGoal =
  /** This one and no other, now and after a rescan. */
  | { readonly kind: "driver"; readonly driver: string }
  /** None. */
  | { readonly kind: "none" }
  /** As it once was: driver (undefined for none) and override. */
  | {
      readonly kind: "state";
      readonly driver: string | undefined;
      readonly driver_override: string | undefined;
    }
  /** The one that the kernel chooses by the device's ids. */
  | { readonly kind: "standard" };

export type BoundState = Pick<PciDevice, "bdf" | "driver" | "driver_override">;

/**
 * The writes that lead from a device's state to a goal; none when it is there already. driver_override decides
 * which driver may bind (Documentation/ABI/testing/sysfs-bus-pci); new_id is never used, because it would let the
 * driver take every other device with the same ids too.
 */
export function planDriver(state: BoundState, goal: DriverGoal, host: Pick<Host, "sys">): SysfsWrite[] {
  const bus = join(host.sys, "bus/pci");
  const device = join(bus, "devices", state.bdf);
  const override = overrideOf(goal);
  const target = goal.kind === "driver" || goal.kind === "state" ? goal.driver : undefined;
  const writes: SysfsWrite[] = [];
  if ((state.driver_override ?? "") !== override) {
    writes.push({ path: join(device, "driver_override"), value: override });
  }
  const stays =
    goal.kind === "none" ? state.driver === undefined : target !== undefined && state.driver === target;
  if (stays) return writes;
  if (state.driver !== undefined) writes.push({ path: join(device, "driver/unbind"), value: state.bdf });
  if (goal.kind === "driver" || goal.kind === "standard" || override === target) {
    writes.push({ path: join(bus, "drivers_probe"), value: state.bdf });
  } else if (target !== undefined) {
    // Without an override several drivers may match; this asks the one that had it.
    writes.push({ path: join(bus, "drivers", target, "bind"), value: state.bdf });
  }
  return writes;
}

function overrideOf(goal: DriverGoal): string {
  if (goal.kind === "driver") return goal.driver;
  return goal.kind === "state" ? (goal.driver_override ?? "") : "";
}

/** A write as a shell would do it, for --dry-run. */
export function showWrite({ path, value }: SysfsWrite): string {
  return `echo ${value === "" ? "''" : value} > ${path}`;
}
