// A device that is not alone in its IOMMU group, through iommufd: what keeps it from us is named. The chipset's SATA and
// SMBus controllers serve for that, being functions of one device and so in one group.
import { writeFileSync } from "node:fs";
import { OperatorError } from "../../src/hw/operator-error.ts";
import { openVfio } from "../../src/hw/vfio/open.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import { command } from "./harness/command.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { loadVfioWithIommufd, openVfioNodes } from "./harness/vfio.ts";

const SATA = "0000:00:1f.2";
const SMBUS = "0000:00:1f.3";
/** The first device that vfio-pci gets. */
const SMBUS_NODE = "/dev/vfio/devices/vfio0";
const SATA_NODE = "/dev/vfio/devices/vfio1";
const open = (bdf: string) => openVfio(bdf, { log: new CollectedLog() });

function handTo(driver: string, bdf: string): void {
  writeFileSync(`/sys/bus/pci/devices/${bdf}/driver_override`, `${driver}\n`);
  writeFileSync("/sys/bus/pci/drivers_probe", bdf);
}

function refused(lab: Lab, name: string, bdf: string, why: RegExp, remedy: string): void {
  try {
    open(bdf).close();
    lab.check(name, false, "it opened");
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    lab.check(name, why.test(error.message), error.message);
    lab.equal(`${name}: the remedy`, error.remedy, remedy);
    const own = openVfioNodes(process.pid).filter((node) => node === SMBUS_NODE);
    lab.equal(`${name}: nodes left open`, own, []);
  }
}

export default scenario({
  summary: "devices that share an IOMMU group: a kernel driver or another process in the group is named",
  usesVdpactl: false,
  vm: { devices: [{ kind: "nic", name: "unused" }] },
  async run(lab) {
    await command("modprobe", "ahci");
    await loadVfioWithIommufd();
    handTo("vfio-pci", SMBUS);
    const drivers = /IOMMU group \d+ has devices with kernel drivers: 0000:00:1f\.2 \(ahci\) \(EPERM\)/;
    refused(
      lab,
      "a kernel driver in the group",
      SMBUS,
      drivers,
      `bind the whole group: vdpactl bind ${SATA} ${SMBUS}`,
    );

    writeFileSync(`/sys/bus/pci/devices/${SATA}/driver/unbind`, SATA);
    handTo("vfio-pci", SATA);
    const sata = open(SATA);
    lab.equal("alone in the group: VFIO nodes that are open", openVfioNodes(process.pid), [
      "/dev/iommu",
      SATA_NODE,
    ]);
    const holder = new RegExp(
      `bun \\(pid ${process.pid}\\) uses another device of its IOMMU group \\d+ \\(EPERM\\)`,
    );
    refused(lab, "another holder in the group", SMBUS, holder, "stop that process first");
    sata.close();
    open(SMBUS).close();
    lab.equal("once that has gone it opens; nodes left open", openVfioNodes(process.pid), []);
  },
});
