import { openVfio } from "../../src/hw/vfio/open.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { runDeviceContract } from "./device-contract.ts";

// A real device on vfio-pci whose wire brings back what it sends: scripts/lab runs this. Elsewhere there is none.
const bdf = process.env["VDPACTL_CONTRACT_PCI"];
if (bdf) {
  runDeviceContract(bdf, { samePair: false, open: () => openVfio(bdf, { log: new CollectedLog() }) });
}
