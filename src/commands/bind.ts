import { flag, list, value } from "../cli/options.ts";
import { text } from "../cli/values.ts";
import { defineVerb } from "../cli/verb.ts";
import { parseBdf } from "../hw/pci/bdf.ts";
import { executePlan } from "../hw/pci/bind.ts";
import { planBinding } from "../hw/pci/bind-plan.ts";
import { bindSystem } from "../hw/pci/bind-system.ts";
import { HOST } from "../hw/pci/host.ts";
import { parseNodeOwner } from "../hw/pci/node-owner.ts";
import { renderBound, renderSteps, stepsOf } from "./bind/render.ts";
import { requestOf } from "./bind/request.ts";

export default defineVerb({
  name: "bind",
  description: "Hand PCI devices to vfio-pci, and back",
  options: {
    pci: list("BDF", parseBdf, "a device, such as 0000:00:04.0 or 00:04.0"),
    driver: value("NAME", text, "bind to this driver instead of vfio-pci"),
    unbind: flag("take the device from its driver and leave it without one"),
    restore: flag("give the device back to the driver it had first; without BDF all devices"),
    owner: value("USER:GROUP", parseNodeOwner, "give the VFIO device nodes to this user"),
    persist: flag("bind the devices at each boot too; --restore ends that"),
    "dry-run": flag("print each step and change nothing"),
    force: flag("also take devices that are in use or share their IOMMU group"),
  },
  positional: "pci",
  examples: [
    "vdpactl bind 00:04.0",
    "vdpactl bind --dry-run 00:04.0 00:05.0",
    "vdpactl bind --owner $USER: 00:04.0",
    "vdpactl bind --persist 00:04.0",
    "vdpactl bind --restore 00:04.0",
  ],
  async run({ options, output, log, signal }) {
    const request = requestOf(options, HOST);
    if (request.bdfs.length === 0)
      log.info("no device is away from its first driver", { event: "nothing_to_do" });
    const plan = planBinding(request, HOST);
    if (options["dry-run"]) {
      const steps = stepsOf(plan, HOST);
      output.print({ dry_run: true, steps }, () => renderSteps(steps));
      if (steps.length === 0) log.info("nothing is to be done", { event: "nothing_to_do" });
      return;
    }
    const bound = await executePlan(plan, log, { host: HOST, system: bindSystem, signal });
    output.print({ dry_run: false, devices: bound.map(toJson) }, () => renderBound(bound, output));
  },
});

/** Undefined would vanish from JSON; its keys are always there. */
const toJson = (record: object) => JSON.parse(JSON.stringify(record, (_, v) => (v === undefined ? null : v)));
