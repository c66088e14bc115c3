import { join } from "node:path";
import type { Output } from "../../cli/output.ts";
import type { Bound } from "../../hw/pci/bind.ts";
import type { BindPlan } from "../../hw/pci/bind-plan.ts";
import { showWrite } from "../../hw/pci/driver-plan.ts";
import type { Host } from "../../hw/pci/host.ts";
import type { NodeOwner } from "../../hw/pci/node-owner.ts";

/** One step of a plan; JSON keys are documented in docs/cli.md. */
export type Step =
  | { readonly kind: "modprobe"; readonly module: string }
  | { readonly kind: "write"; readonly bdf: string; readonly path: string; readonly value: string }
  | { readonly kind: "chown"; readonly path: string; readonly owner: string }
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
  const groups = new Set(plan.devices.flatMap(({ device }) => device.iommu_group ?? []));
  return [...groups].map((group) => ({
    kind: "chown",
    path: join(host.dev, "vfio", String(group)),
    owner: `${owner.uid ?? ""}:${owner.gid ?? ""}`,
  }));
}

/** The steps as shell commands. */
export function renderSteps(steps: readonly Step[]): string {
  const command = (step: Step) => {
    if (step.kind === "modprobe") return `modprobe ${step.module}`;
    if (step.kind === "chown") return `chown ${step.owner} ${step.path}`;
    if (step.kind === "write") return showWrite(step);
    return step.text === null ? `rm ${step.path}` : `cat > ${step.path} << 'END'\n${step.text}END`;
  };
  return steps.map((step) => `${command(step)}\n`).join("");
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
