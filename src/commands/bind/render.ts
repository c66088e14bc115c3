import type { Output } from "../../cli/output.ts";
import type { Bound } from "../../hw/pci/bind.ts";
import type { BindPlan } from "../../hw/pci/bind-plan.ts";
import { showWrite } from "../../hw/pci/driver-plan.ts";
import type { Host } from "../../hw/pci/host.ts";
import type { NodeOwner } from "../../hw/pci/node-owner.ts";
import { ownedNodes } from "../../hw/pci/owned-nodes.ts";

/** One step of a plan; JSON keys are documented in docs/cli.md. */
export type Step =
  | { readonly kind: "modprobe"; readonly module: string }
  | { readonly kind: "write"; readonly bdf: string; readonly path: string; readonly value: string }
  | {
      readonly kind: "chown";
      readonly bdf: string | null;
      readonly path: string | null;
      readonly owner: string;
    }
  | { readonly kind: "rule"; readonly bdf: string; readonly path: string; readonly text: string | null };

/** All steps of a plan in their order. */
export function stepsOf(plan: BindPlan, host: Host): Step[] {
  return [
    ...plan.modules.map((module) => ({ kind: "modprobe" as const, module })),
    ...plan.devices.flatMap(({ device, writes }) =>
      writes.map(({ path, value }) => ({ kind: "write" as const, bdf: device.bdf, path, value })),
    ),
    ...(plan.owner ? chownSteps(plan, plan.owner, host) : []),
    ...plan.rules.map(({ bdf, path, text }) => ({ kind: "rule" as const, bdf, path, text: text ?? null })),
  ];
}

function chownSteps(plan: BindPlan, owner: NodeOwner, host: Host): Step[] {
  return ownedNodes(plan.devices, host).map(({ bdf, path }) => ({
    kind: "chown",
    bdf: bdf ?? null,
    path: path ?? null,
    owner: showOwner(owner),
  }));
}

/** As chown(1) takes it, to which a colon without a group after it would mean the user's login group. */
const showOwner = ({ uid, gid }: NodeOwner) => `${uid ?? ""}${gid === undefined ? "" : `:${gid}`}`;

/** The steps as shell commands; what can not be told as one is a comment. */
export function renderSteps(steps: readonly Step[]): string {
  const command = (step: Step) => {
    if (step.kind === "modprobe") return `modprobe ${step.module}`;
    if (step.kind === "chown") return showChown(step);
    if (step.kind === "write") return showWrite(step);
    return step.text === null ? `rm ${step.path}` : `cat > ${step.path} << 'END'\n${step.text}END`;
  };
  return steps.map((step) => `${command(step)}\n`).join("");
}

function showChown({ bdf, path, owner }: Step & { kind: "chown" }): string {
  if (path !== null) return `chown ${owner} ${path}`;
  return `# chown ${owner} /dev/vfio/devices/NAME: the kernel gives ${bdf} a node of its own when it is bound, where it has such nodes`;
}

export function renderBound(bound: readonly Bound[], output: Output): string {
  const rows = bound.map(({ bdf, driver_before, driver_after, iommu_group, changed, persistent }) => [
    bdf,
    driver_after ?? "no driver",
    changed ? `was ${driver_before ?? "without a driver"}` : "as before",
    iommu_group === undefined ? "" : `group ${iommu_group}`,
    persistent ? "at boot too" : "",
  ]);
  return rows.length === 0 ? "" : output.columns(["DEVICE", "DRIVER", "BEFORE", "IOMMU", "BOOT"], rows);
}
