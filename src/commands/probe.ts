import { list } from "../cli/options.ts";
import { defineVerb } from "../cli/verb.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { parseBdf } from "../hw/pci/bdf.ts";
import { findPciDevice, listPciDevices, type PciDevice } from "../hw/pci/device.ts";
import { HOST } from "../hw/pci/host.ts";
import { pciNames } from "../hw/pci/pci-ids.ts";
import { describeDevice } from "./probe/describe.ts";
import { vfioRegisterReader } from "./probe/registers.ts";
import { renderDetail } from "./probe/render-detail.ts";
import { renderList } from "./probe/render-list.ts";

export default defineVerb({
  name: "probe",
  description: "Show the virtio devices of this machine, and what stands in the way of serving them",
  options: { pci: list("BDF", parseBdf, "show everything about this device") },
  positional: "pci",
  examples: ["vdpactl probe", "vdpactl probe 00:04.0", "vdpactl probe --json | jq '.[].obstacles'"],
  run({ options, output, log }) {
    const devices =
      options.pci.length > 0
        ? options.pci.map((bdf) => virtioDevice(findPciDevice(bdf, HOST)))
        : listPciDevices(HOST).filter(({ virtioType }) => virtioType !== undefined);
    const sources = { host: HOST, lookUp: pciNames(HOST), readRegisters: vfioRegisterReader(log) };
    const records = devices.map((device) => describeDevice(device, sources));
    if (records.length === 0) log.warn("this machine has no virtio PCI device", { event: "no_devices" });
    output.print(records, () =>
      options.pci.length > 0
        ? records.map((record) => renderDetail(record, output.paint)).join("\n")
        : renderList(records, output),
    );
    return 0;
  },
});

function virtioDevice(device: PciDevice): PciDevice {
  if (device.virtioType !== undefined) return device;
  throw new OperatorError(`${device.bdf} is no virtio device`, {
    why: `its PCI id is ${device.vendor.toString(16)}:${device.device.toString(16)}`,
    remedy: "vdpactl probe",
    kind: "usage",
  });
}
