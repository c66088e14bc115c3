import { join } from "node:path";
import type { DevicePlan } from "./bind-plan.ts";
import type { Host } from "./host.ts";
import { isVfioDriver } from "./iommu-group.ts";
import { groupNode, ownNodes } from "./vfio-holders.ts";

/** A VFIO node that a plan gives to its owner. */
export interface OwnedNode {
  /** The device whose own node it is; undefined for a group's. */
  readonly bdf: string | undefined;
  /** Undefined where the kernel names the node when it binds the device, if it has such nodes at all. */
  readonly path: string | undefined;
}

/** All nodes of devices once what is planned for them is done, in the order in which they are given away. */
export function ownedNodes(plans: readonly DevicePlan[], host: Host): OwnedNode[] {
  const groups = new Set<string>();
  return plans.flatMap((plan) => {
    const group = groupNode(plan.device, host);
    const isNew = group !== undefined && !groups.has(group);
    if (isNew) groups.add(group);
    return [...(isNew ? [{ bdf: undefined, path: group }] : []), ...ownNodesAfter(plan, host)];
  });
}

/** A node lives as long as its device stays with the driver; the next one's number is the kernel's choice. */
function ownNodesAfter({ device, goal, writes }: DevicePlan, host: Host): OwnedNode[] {
  const { bdf } = device;
  const isBoundAnew = writes.some(({ path }) => path !== join(device.path, "driver_override"));
  if (!isBoundAnew) return ownNodes(device, host).map((path) => ({ bdf, path }));
  return goal.kind === "driver" && isVfioDriver(goal.driver) ? [{ bdf, path: undefined }] : [];
}
