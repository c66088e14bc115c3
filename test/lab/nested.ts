// A QEMU guest behind vdpactl on a real NIC, from boot to reboot, with one queue pair and with two.
import { command } from "./harness/command.ts";
import { Guest } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import { scenario } from "./harness/scenario.ts";
import { transfer } from "./harness/transfer.ts";
import { serve } from "./harness/vdpactl.ts";

const FILE_BYTES = 1024 * 1024;
const PINGS = 4;
const SOCKET = "/tmp/nested.sock";
const ADDRESS = "10.0.0.2";

async function wholeLife(lab: Lab, peer: Peer, pairs: number): Promise<void> {
  const name = (what: string) => `${pairs} pair${pairs > 1 ? "s" : ""}: ${what}`;
  const guest = await Guest.boot({
    name: `guest-${pairs}`,
    socket: SOCKET,
    mac: lab.device("served").mac,
    pairs,
  });
  await guest.address(ADDRESS);
  lab.equal(name("pings answered"), await guest.ping(peer.address, PINGS), PINGS);
  if (pairs > 1) {
    await guest.run(`ethtool -L eth0 combined ${pairs}`);
    const channels = await guest.run("ethtool -l eth0");
    lab.equal(name("pairs in use"), channels.match(/Current[\s\S]*Combined:\s+(\d+)/)?.[1], String(pairs));
  }
  lab.equal(name("pings of the peer answered"), await peer.ping(ADDRESS, PINGS), PINGS);
  const sums = await transfer(guest, ADDRESS, peer, FILE_BYTES);
  lab.equal(name("checksum of the file fetched"), sums.downloaded, sums.original);
  lab.equal(name("checksum of the file sent back"), sums.uploaded, sums.original);
  await guest.reloadDriver();
  await guest.address(ADDRESS);
  lab.equal(name("pings answered after its driver came back"), await guest.ping(peer.address, PINGS), PINGS);
  await guest.reboot();
  await guest.address(ADDRESS);
  lab.equal(name("pings answered after its reboot"), await guest.ping(peer.address, PINGS), PINGS);
  lab.equal(name("QEMU ends with 0"), await guest.quit(), 0);
}

export default scenario({
  summary: "a nested QEMU guest: boot, ping, file transfer, driver reload, reboot; then with two queue pairs",
  usesVdpactl: true,
  timeoutSeconds: 2400,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "wide", pairs: 2 },
      { kind: "nic", name: "peer", wire: "wide", pairs: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    const served = lab.device("served");
    await served.handTo("vfio-pci");
    const daemon = await serve({ device: served, socket: SOCKET });
    await wholeLife(lab, peer, 1);
    await wholeLife(lab, peer, 2);
    lab.equal("vdpactl ends with 0", await daemon.stop(), 0);
  },
});
