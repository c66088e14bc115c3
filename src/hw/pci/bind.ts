import type { Log } from "../log.ts";
import { messageOf, OperatorError } from "../operator-error.ts";
import {
  type BindPlan,
  type BindRequest,
  checkPlanRights,
  type DevicePlan,
  planBinding,
} from "./bind-plan.ts";
import { type BindSystem, bindSystem, StillHeld } from "./bind-system.ts";
import { changeRule, type RuleChange, ruledDevices } from "./boot-rule.ts";
import { findPciDevice, readPciDevice } from "./device.ts";
import { planDriver } from "./driver-plan.ts";
import { HOST, type Host } from "./host.ts";
import { forgetDriver, rememberDriver } from "./original-driver.ts";
import { ownedNodes } from "./owned-nodes.ts";

export interface Surroundings {
  readonly host: Host;
  readonly system: BindSystem;
  readonly signal?: AbortSignal | undefined;
}

/** What became of one device. */
export interface Bound {
  readonly bdf: string;
  readonly driver_before: string | undefined;
  readonly driver_after: string | undefined;
  readonly iommu_group: number | undefined;
  /** False when it was there already. */
  readonly changed: boolean;
  /** A rule gives it to a driver at boot. */
  readonly persistent: boolean;
}

/**
 * Binds devices to vfio-pci (or as the request says), all or none of them.
 * @throws OperatorError: not-ready, refused (see `planBinding`), failed after everything has been put back
 */
export async function bindDevices(
  bdfs: readonly string[],
  log: Log,
  request: Omit<BindRequest, "bdfs"> = { action: { kind: "bind", driver: "vfio-pci" }, force: false },
): Promise<Bound[]> {
  return await executePlan(planBinding({ ...request, bdfs }), log);
}

/** Carries a plan out. When a step fails, or the signal is aborted, all devices go back to where they were. */
export async function executePlan(
  plan: BindPlan,
  log: Log,
  { host, system, signal }: Surroundings = { host: HOST, system: bindSystem },
): Promise<Bound[]> {
  checkPlanRights(plan, host);
  for (const module of plan.modules) {
    log.debug(`loading the kernel module ${module}`, { event: "module_loading", module });
    system.modprobe(module);
  }
  const touched: DevicePlan[] = [];
  const ruleUndos: RuleChange[] = [];
  try {
    for (const device of plan.devices) {
      if (device.writes.length === 0) continue;
      touched.push(device);
      await executeDevice(device, log, { host, system, signal });
    }
    if (plan.owner) {
      const done = plan.devices.map((device) => asDone(device, host));
      for (const { path } of ownedNodes(done, host))
        if (path !== undefined) await system.chown(path, plan.owner);
    }
    for (const rule of plan.rules) {
      const change = rule.text === undefined ? "removing" : "writing";
      log.debug(`${change} ${rule.path}`, { event: "udev_rule", change, path: rule.path });
      ruleUndos.push(changeRule(rule));
    }
  } catch (error) {
    for (const undo of ruleUndos) undoRule(undo, log);
    await rollBack(touched, error, log, { host, system });
    throw error;
  }
  for (const { device, forget } of plan.devices) if (forget) forgetDriver(device.bdf, host);
  const ruled = new Set(ruledDevices(host));
  return plan.devices.map(({ device, writes }) => ({
    bdf: device.bdf,
    driver_before: device.driver,
    driver_after: readPciDevice(device.bdf, host)?.driver,
    iommu_group: device.iommu_group,
    changed: writes.length > 0,
    persistent: ruled.has(device.bdf),
  }));
}

/** The plan of a device that has been carried out: the device as it is now, and nothing to write. */
const asDone = (plan: DevicePlan, host: Host): DevicePlan => ({
  ...plan,
  device: findPciDevice(plan.device.bdf, host),
  writes: [],
});

function undoRule(undo: RuleChange, log: Log): void {
  try {
    changeRule(undo);
  } catch (error) {
    log.error(messageOf(error), {
      event: "udev_rule_not_restored",
      path: undo.path,
      error: messageOf(error),
    });
  }
}

async function executeDevice(
  plan: DevicePlan,
  log: Log,
  { host, system, signal }: Surroundings,
): Promise<void> {
  const { device, goal, writes, remember } = plan;
  if (remember) rememberDriver(device.bdf, remember, host);
  for (const write of writes) {
    signal?.throwIfAborted();
    log.debug(`writing "${write.value}" to ${write.path}`, {
      event: "sysfs_write",
      path: write.path,
      value: write.value,
    });
    await system.write(write);
  }
  const wanted = goal.kind === "driver" || goal.kind === "state" ? goal.driver : undefined;
  expectDriver(device.bdf, goal.kind === "standard" ? "any" : wanted, host);
}

/** The kernel reports nothing when a driver declines a device, so one has to look. */
function expectDriver(bdf: string, wanted: string | undefined, host: Host): void {
  const { driver } = findPciDevice(bdf, host);
  if (wanted === "any" ? driver !== undefined : driver === wanted) return;
  throw new OperatorError(
    `${bdf} was not ${wanted === undefined ? "released" : `taken by ${wanted === "any" ? "any driver" : wanted}`}`,
    {
      why: driver === undefined ? "it has no driver now" : `it is bound to ${driver}`,
      remedy: "dmesg | tail",
    },
  );
}

async function rollBack(
  touched: readonly DevicePlan[],
  reason: unknown,
  log: Log,
  { host, system }: Surroundings,
): Promise<void> {
  for (const { device, remember } of touched.toReversed()) {
    // Writes to a device that the kernel is still unbinding would block as well.
    if (reason instanceof StillHeld && device === touched.at(-1)?.device) continue;
    const { bdf, driver, driver_override } = device;
    try {
      const now = findPciDevice(bdf, host);
      const writes = planDriver(now, { kind: "state", driver, driver_override }, host);
      for (const write of writes) await system.write(write);
      expectDriver(bdf, driver, host);
      if (remember) forgetDriver(bdf, host);
      if (writes.length > 0)
        log.warn(`${bdf} is back at ${driver ?? "no driver"}`, {
          event: "driver_restored",
          device: bdf,
          driver: driver ?? "none",
        });
    } catch (error) {
      log.error(`${bdf} could not be put back to ${driver ?? "no driver"}: ${messageOf(error)}`, {
        event: "driver_not_restored",
        device: bdf,
        driver: driver ?? "none",
        error: messageOf(error),
      });
    }
  }
}
