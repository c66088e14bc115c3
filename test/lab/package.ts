// The Debian package on a machine with systemd and udev: installed, used as an operator would, and purged.

import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { checkActivation } from "./package/activation.ts";
import { checkInstalled, filesOnDisk } from "./package/install.ts";
import { checkPersistent } from "./package/persistent.ts";
import { checkRemoved } from "./package/remove.ts";
import { checkRestarts } from "./package/restarts.ts";
import { checkService } from "./package/service.ts";

/** Returns every frame that the served device sends. */
async function startPeer(lab: Lab): Promise<Testpmd> {
  hugepages(128);
  const device = lab.device("peer");
  await device.handTo("vfio-pci");
  const peer = await Testpmd.start({ name: "peer", pci: [device.bdf], forward: "io" });
  await peer.run("start");
  return peer;
}

export default scenario({
  summary: "the Debian package under systemd: install, serve, restarts by systemd, socket unit, purge",
  usesVdpactl: false,
  usesPackage: true,
  vm: {
    systemd: true,
    devices: [
      { kind: "nic", name: "served", wire: "short" },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    const before = filesOnDisk();
    await checkInstalled(lab);
    const device = lab.device("served");
    const peerStarted = startPeer(lab);
    const service = await checkService(lab, device, peerStarted);
    await checkRestarts(lab, service);
    await checkActivation(lab, service);
    await checkPersistent(lab, service);
    await (await peerStarted).quit();
    await checkRemoved(lab, service, before);
  },
});
