import { openVfio } from "../../src/hw/vfio/open.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { runDeviceContract } from "./device-contract.ts";

// Real devices on vfio-pci whose wires bring back what they send: scripts/lab runs this. Elsewhere there are none.
for (const bdf of process.env["VDPACTL_CONTRACT_PCI"]?.split(",") ?? []) {
  runDeviceContract(bdf, { samePair: false, open: () => openVfio(bdf, { log: new CollectedLog() }) });
}
