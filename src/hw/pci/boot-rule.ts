import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { isErrno } from "../ffi/errno.ts";
import { messageOf, OperatorError } from "../operator-error.ts";
import { type Host, listDirectory } from "./host.ts";
import type { NodeOwner } from "./node-owner.ts";
import { writeWholeFile } from "./whole-file.ts";

/** What is to become of the udev rule that gives a device to a driver at boot. */
export interface RuleChange {
  readonly bdf: string;
  readonly path: string;
  /** Undefined removes the file. */
  readonly text: string | undefined;
}

const directoryOf = (host: Host) => join(host.etc, "udev/rules.d");
/** Before the rules that load modules by the device's ids (80-drivers). */
const pathOf = (bdf: string, host: Host) => join(directoryOf(host), `60-vdpactl-${bdf}.rules`);
const NAME = /^60-vdpactl-([\da-f]{4,8}:[\da-f]{2}:[\da-f]{2}\.[0-7])\.rules$/;

/** Addresses of the devices that have such a rule, also of those that are not there. */
export function ruledDevices(host: Host): string[] {
  return listDirectory(directoryOf(host)).flatMap((name) => NAME.exec(name)?.[1] ?? []);
}

/**
 * The change that gives a device to a driver whenever it appears; undefined when the rule is there already.
 * @throws OperatorError (not-ready) where no udev would read it
 */
export function planRule(
  bdf: string,
  driver: string,
  owner: NodeOwner | undefined,
  host: Host,
): RuleChange | undefined {
  if (!listDirectory(join(host.run, "udev")).includes("control")) {
    throw new OperatorError("udev does not run on this machine", {
      why: `it is what would bind ${bdf} at boot, and ${join(host.run, "udev/control")} does not exist`,
      remedy: "leave out --persist, and call vdpactl bind at boot",
      kind: "not-ready",
    });
  }
  const path = pathOf(bdf, host);
  const text = ruleText(bdf, driver, owner);
  return readRule(path) === text ? undefined : { bdf, path, text };
}

/** The change that leaves a device to the kernel at boot; undefined when it is. */
export function planRuleRemoval(bdf: string, host: Host): RuleChange | undefined {
  const path = pathOf(bdf, host);
  return ruledDevices(host).includes(bdf) ? { bdf, path, text: undefined } : undefined;
}

/**
 * Changes the rule; udev takes notice of that by itself.
 * @returns the change that undoes it
 */
export function changeRule({ bdf, path, text }: RuleChange): RuleChange {
  try {
    const undo = { bdf, path, text: readRule(path) };
    if (text === undefined) rmSync(path, { force: true });
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeWholeFile(path, text, 0o644);
    }
    return undo;
  } catch (error) {
    throw new OperatorError(`cannot ${text === undefined ? "remove" : "write"} the udev rule of ${bdf}`, {
      why: `${path}: ${messageOf(error)}`,
      remedy: "run it as root, where /etc can be written to",
      cause: error,
    });
  }
}

function readRule(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
  }
}

/**
 * The rule needs nothing but udev, so that it works before this program's file system is there, and within udev's
 * sandbox, which no JIT compiler runs in. A driver that is built in or loaded early may have the device by then, or get
 * it while udev is at work: its `bind` event comes with an override that names another driver, which nobody does who
 * gives the device away on purpose.
 */
function ruleText(bdf: string, driver: string, owner: NodeOwner | undefined): string {
  const device = `SUBSYSTEM=="pci", KERNEL=="${bdf}"`;
  const chosen = `${device}, ACTION=="add|bind", ATTR{driver_override}=="${driver}"`;
  return [
    `# ${bdf} goes to ${driver} whenever it appears. Written by vdpactl bind --persist;`,
    `# vdpactl bind --restore ${bdf} removes this file.`,
    `${device}, ACTION=="add", ATTR{driver_override}="${driver}", RUN{builtin}+="kmod load ${driver}"`,
    `${chosen}, DRIVER=="?*", DRIVER!="${driver}", ATTR{driver/unbind}="%k"`,
    `${chosen}, DRIVER!="${driver}", ATTR{[subsystem/pci]drivers_probe}="%k"`,
    ...(owner ? ownerLines(bdf, owner) : []),
    "",
  ].join("\n");
}

/** The group's node is no child of the device, so its group is asked whether the device is in it. */
function ownerLines(bdf: string, { uid, gid }: NodeOwner): string[] {
  const whom = [
    ...(uid === undefined ? [] : [`OWNER="${uid}"`]),
    ...(gid === undefined ? [] : [`GROUP="${gid}"`]),
  ].join(", ");
  return [
    `SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/${bdf}", ${whom}`,
    `SUBSYSTEM=="vfio-dev", KERNELS=="${bdf}", ${whom}`,
  ];
}
