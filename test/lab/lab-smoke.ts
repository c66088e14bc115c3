// The lab itself, without vdpactl: what the other scenarios rely on.
import { existsSync } from "node:fs";
import { command } from "./harness/command.ts";
import { Guest } from "./harness/guest.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { answers, Peer } from "./harness/network.ts";
import { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { listening } from "./harness/transfer.ts";
import { until } from "./harness/until.ts";

const FRAMES = 10_000;

/** Two testpmds pass the same 32 frames back and forth until enough went by; then every frame is accounted for. */
async function framesThroughVhostUser(lab: Lab): Promise<void> {
  const socket = "/tmp/frames.sock";
  const backEnd = await Testpmd.start({
    name: "frames-back-end",
    vdevs: [`net_vhost0,iface=${socket},queues=1`],
    forward: "io",
  });
  await backEnd.run("start");
  const frontEnd = await Testpmd.start({
    name: "frames-front-end",
    vdevs: [`net_virtio_user0,path=${socket},queues=1,queue_size=256`],
    forward: "io",
  });
  await frontEnd.run("start tx_first 1");
  await until("frames to come back", async () => (await frontEnd.stats()).rx_packets >= FRAMES);
  await frontEnd.run("stop");
  const sent = (await frontEnd.stats()).tx_packets;
  await until("the last frames", async () => (await backEnd.stats()).rx_packets >= sent);
  const { rx_packets, rx_errors, tx_errors } = await backEnd.stats();
  lab.equal("vhost-user: the back-end counts every frame sent", rx_packets, sent);
  lab.equal("vhost-user: without errors", [rx_errors, tx_errors], [0, 0]);
  lab.equal("vhost-user: the front-end leaves with 0", await frontEnd.quit(), 0);
  lab.equal("vhost-user: the back-end leaves with 0", await backEnd.quit(), 0);
}

/** DPDK's own driver takes the NIC over VFIO and answers pings; the kernel's driver asks at the wire's other end. */
async function pingsThroughVfio(lab: Lab): Promise<void> {
  const left = lab.device("left");
  const peer = await Peer.create("peer", lab.device("right"), "10.0.0.1");
  await left.handTo("vfio-pci");
  lab.check("vfio: its group has a device node", existsSync(`/dev/vfio/${left.group}`), left.group);
  const testpmd = await Testpmd.start({ name: "pmd", pci: [left.bdf], forward: "icmpecho" });
  await testpmd.run("start");
  lab.equal("vfio: pings answered across the wire", await peer.ping("10.0.0.2", 5), 5);
  lab.atLeast("vfio: the NIC received them", (await testpmd.stats()).rx_packets, 5);
  lab.equal("vfio: DPDK leaves with 0", await testpmd.quit(), 0);
  await peer.remove();
  await left.handTo("virtio-pci");
  lab.check("vfio: the kernel has its interface back", (await left.interface()) !== "", left.driver);
}

/** More buffers than a ring has, many times over. */
const FILE_MEBIBYTES = "16";

/** Fetches a file from the other's web server; true when its checksum is right. */
async function fetches(to: Peer, from: Peer): Promise<boolean> {
  const sum = async (file: string) => (await command("sha256sum", file)).split(" ")[0];
  await command("dd", "if=/dev/urandom", "of=/tmp/served", "bs=1M", `count=${FILE_MEBIBYTES}`);
  const server = new Program("web-server", from.argv("busybox", "httpd", "-f", "-p", "80", "-h", "/tmp"));
  await listening(from);
  await to.run("busybox", "wget", "-q", "-O", "/tmp/fetched", `http://${from.address}/served`);
  await server.stop();
  return (await sum("/tmp/fetched")) === (await sum("/tmp/served"));
}

/** With several pairs the wire is a bridge; both ends are kernels here, in namespaces of their own. */
async function pingsOverBridge(lab: Lab): Promise<void> {
  const near = await Peer.create("near", lab.device("bridged-left"), "10.1.0.1");
  const far = await Peer.create("far", lab.device("bridged-right"), "10.1.0.2");
  lab.equal("bridge: pings answered", await near.ping("10.1.0.2", 5), 5);
  lab.check("bridge: a file from far to near has its checksum", await fetches(near, far));
  lab.check("bridge: a file from near to far has its checksum", await fetches(far, near));
  const channels = await far.run("ethtool", "--show-channels", far.link);
  lab.equal("bridge: queue pairs of the NIC", channels.match(/Combined:\s+(\d+)/)?.[1], "4");
  await near.remove();
  await far.remove();
}

async function nestedGuest(lab: Lab): Promise<void> {
  const socket = "/tmp/guest.sock";
  const backEnd = await Testpmd.start({
    name: "guest-back-end",
    vdevs: [`net_vhost0,iface=${socket},queues=2`],
    pairs: 2,
    forward: "icmpecho",
  });
  await backEnd.run("start");
  const guest = await Guest.boot({ name: "guest", socket, mac: "52:54:00:0a:b1:01", pairs: 2 });
  await guest.address("10.2.0.2");
  lab.equal("guest: pings answered", await guest.ping("10.2.0.1", 4), 4);
  await guest.run("ethtool -L eth0 combined 2");
  lab.equal("guest: pings answered with two pairs", await guest.ping("10.2.0.1", 4), 4);
  await guest.reloadDriver();
  await guest.address("10.2.0.2");
  lab.equal("guest: pings answered after its driver came back", await guest.ping("10.2.0.1", 4), 4);
  await guest.reboot();
  await guest.address("10.2.0.2");
  lab.equal("guest: pings answered after its reboot", await guest.ping("10.2.0.1", 4), 4);
  const status = (await guest.qmp.execute("query-status")) as { status: string };
  lab.equal("guest: its monitor says", status.status, "running");
  lab.equal("guest: QEMU leaves with 0", await guest.quit(), 0);
  await backEnd.quit();
}

export default scenario({
  summary: "the lab itself: IOMMU groups, DPDK over vhost-user and VFIO, wires, a nested guest",
  usesVdpactl: false,
  extended: true,
  vm: {
    devices: [
      { kind: "nic", name: "left", wire: "short" },
      { kind: "nic", name: "right", wire: "short" },
      { kind: "nic", name: "bridged-left", wire: "wide", pairs: 4 },
      { kind: "nic", name: "bridged-right", wire: "wide", pairs: 4 },
      { kind: "disk", name: "disk", mebibytes: 64 },
    ],
  },
  async run(lab) {
    for (const device of lab.devices) {
      lab.equal(`${device.shape.name}: alone in its IOMMU group`, device.companions, []);
      lab.equal(`${device.shape.name}: is virtio`, device.read("vendor"), "0x1af4");
    }
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(256);
    await framesThroughVhostUser(lab);
    await pingsThroughVfio(lab);
    await pingsOverBridge(lab);
    await nestedGuest(lab);
    lab.equal(
      "ping counts of both kinds are read",
      [
        answers("4 packets transmitted, 3 received, 25% packet loss"),
        answers("4 packets transmitted, 2 packets received, 50% packet loss"),
      ],
      [3, 2],
    );
  },
});
