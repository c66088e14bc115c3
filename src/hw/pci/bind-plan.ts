import { join } from "node:path";
import { checkGroups, checkRights, checkUnused } from "./bind-checks.ts";
import { planRule, planRuleRemoval, type RuleChange } from "./boot-rule.ts";
import { findPciDevice, type PciDevice, readPciDevice } from "./device.ts";
import { type DriverGoal, planDriver, type SysfsWrite } from "./driver-plan.ts";
import { HOST, type Host, listDirectory } from "./host.ts";
import { isVfioDriver } from "./iommu-group.ts";
import type { NodeOwner } from "./node-owner.ts";
import { type OriginalDriver, originalDriver } from "./original-driver.ts";
import { vfioHolders } from "./vfio-holders.ts";

export type BindAction =
  | { readonly kind: "bind"; readonly driver: string }
  | { readonly kind: "unbind" }
  | { readonly kind: "restore" };

export interface BindRequest {
  /** Canonical addresses. */
  readonly bdfs: readonly string[];
  readonly action: BindAction;
  /** Take devices that are in use, or that share an IOMMU group with devices in the way. */
  readonly force: boolean;
  /** Give the VFIO nodes to this user and group. */
  readonly owner?: NodeOwner | undefined;
  /** Bind the devices at each boot as well. */
  readonly persist?: boolean;
}

/** What is to be done with one device. */
export interface DevicePlan {
  readonly device: PciDevice;
  readonly goal: DriverGoal;
  readonly writes: readonly SysfsWrite[];
  /** To be remembered before anything is written. */
  readonly remember: OriginalDriver | undefined;
  /** What is remembered is no longer needed when all is done. */
  readonly forget: boolean;
}

export interface BindPlan {
  /** Kernel modules to load first. */
  readonly modules: readonly string[];
  readonly devices: readonly DevicePlan[];
  readonly owner: NodeOwner | undefined;
  /** What becomes of udev's rules once the devices are where they are to be. */
  readonly rules: readonly RuleChange[];
}

/**
 * Decides everything without changing anything.
 * @throws OperatorError: not-ready (no such device, no IOMMU, no rights), refused (in use, group shared)
 */
export function planBinding(request: BindRequest, host: Host = HOST): BindPlan {
  const bdfs = [...new Set(request.bdfs)];
  const rules = bdfs.flatMap((bdf) => planRuleChange(bdf, request, host) ?? []);
  const devices = bdfs
    .filter((bdf) => !isOnlyARule(bdf, request.action, rules, host))
    .map((bdf) => planDevice(findPciDevice(bdf, host), request.action, host));
  if (!request.force) {
    const losing = devices.filter(losesDriver).map(({ device }) => device);
    checkUnused(losing, host);
  }
  if (request.action.kind === "bind" && isVfioDriver(request.action.driver)) {
    const all = devices.map(({ device }) => device);
    checkGroups(all, request.force, host);
  }
  const drivers = listDirectory(join(host.sys, "bus/pci/drivers"));
  const needed = devices.flatMap(({ writes, goal }) =>
    writes.length > 0 && "driver" in goal ? (goal.driver ?? []) : [],
  );
  return {
    modules: [...new Set(needed)].filter((name) => !drivers.includes(name)),
    devices,
    owner: request.owner,
    rules,
  };
}

function planRuleChange(
  bdf: string,
  { action, persist, owner }: BindRequest,
  host: Host,
): RuleChange | undefined {
  if (action.kind === "restore") return planRuleRemoval(bdf, host);
  return persist && action.kind === "bind" ? planRule(bdf, action.driver, owner, host) : undefined;
}

/** A device that was taken out of the machine has no driver to go back to, but its rule can be removed. */
function isOnlyARule(bdf: string, action: BindAction, rules: readonly RuleChange[], host: Host): boolean {
  return (
    action.kind === "restore" &&
    rules.some((rule) => rule.bdf === bdf) &&
    readPciDevice(bdf, host) === undefined
  );
}

/** @throws OperatorError (not-ready) when this process may not carry the plan out */
export function checkPlanRights(plan: BindPlan, host: Host = HOST): void {
  const changes = plan.devices.some(({ writes, forget }) => writes.length > 0 || forget);
  checkRights(changes || plan.owner !== undefined || plan.rules.length > 0, host);
}

function planDevice(device: PciDevice, action: BindAction, host: Host): DevicePlan {
  const restores = action.kind === "restore";
  const goal = goalOf(device, action, host);
  const blocked = isVfioDriver(device.driver) && vfioHolders(device, host).length > 0;
  const writes = planDriver(device, goal, host).map((write) =>
    blocked && write.path.endsWith("/unbind") ? { ...write, mayBlock: true } : write,
  );
  const takes = !restores && writes.length > 0;
  return {
    device,
    goal,
    writes,
    remember: takes && isWorthRemembering(device, host) ? stateOf(device) : undefined,
    forget: restores && originalDriver(device.bdf, host) !== undefined,
  };
}

const stateOf = ({ driver, driver_override }: PciDevice): OriginalDriver => ({ driver, driver_override });

/** From a VFIO driver to another one, the driver before the first of them is still what counts. */
function isWorthRemembering({ bdf, driver }: PciDevice, host: Host): boolean {
  const isAFirst = driver !== undefined && !isVfioDriver(driver);
  return originalDriver(bdf, host) === undefined || isAFirst;
}

function goalOf(device: PciDevice, action: BindAction, host: Host): DriverGoal {
  if (action.kind === "bind") return { kind: "driver", driver: action.driver };
  if (action.kind === "unbind") return { kind: "none" };
  const original = originalDriver(device.bdf, host);
  if (original) return { kind: "state", ...original };
  // Not taken by us: a device at VFIO goes to its usual driver, any other one is where it belongs.
  if (isVfioDriver(device.driver) || device.driver === undefined) return { kind: "standard" };
  return { kind: "state", ...stateOf(device) };
}

const losesDriver = ({ writes }: DevicePlan) => writes.some(({ path }) => path.endsWith("/unbind"));
