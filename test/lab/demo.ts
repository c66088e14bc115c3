// What `scripts/demo --lab` shows: a real virtio NIC is probed, bound and served through VFIO, first to a DPDK
// application and then to a QEMU guest, and packets cross the wire to the kernel's interface at its other end.
import { Guest } from "./harness/guest.ts";
import { hugepages } from "./harness/hugepages.ts";
import { Peer } from "./harness/network.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";

const PINGS = 5;
const SOCKET = "/tmp/demo.sock";

export default scenario({
  summary: "a real virtio NIC, served through VFIO to DPDK and to a QEMU guest",
  usesVdpactl: true,
  timeoutSeconds: 1800,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    const served = lab.device("served");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    const show = (text: string) => {
      for (const line of text.trimEnd().split("\n")) lab.note(`  ${line}`);
    };

    lab.note("The devices of this machine, and what stands in the way:  vdpactl probe");
    show((await vdpactl("probe")).stdout);

    lab.note(`Hand the NIC to vfio-pci:  vdpactl bind ${served.bdf}`);
    const bound = await vdpactl("bind", served.bdf);
    show(bound.stdout);
    lab.equal("bind ends with 0", bound.code, 0);
    const [record] = (await vdpactlJson("probe", served.bdf)) as [{ state: string }];
    lab.equal("the NIC is", record.state, "ready");

    lab.note(`Serve it:  vdpactl serve --pci ${served.bdf} --socket ${SOCKET}`);
    const daemon = await serve({ device: served, socket: SOCKET });

    lab.note("A DPDK application takes the socket, and the kernel at the other end of the wire pings it.");
    hugepages(320);
    const dpdk = await Testpmd.start({
      name: "dpdk",
      vdevs: [`net_virtio_user0,path=${SOCKET},queues=1,queue_size=256,packed_vq=1,mac=${served.mac}`],
      forward: "icmpecho",
    });
    await dpdk.run("start");
    lab.equal("pings that DPDK answered", await peer.ping("10.0.0.9", PINGS), PINGS);
    lab.equal("DPDK leaves with 0", await dpdk.quit(), 0);

    lab.note("Next a QEMU guest takes the same socket (it boots under emulation, so give it a minute).");
    const guest = await Guest.boot({ name: "guest", socket: SOCKET, mac: served.mac });
    await guest.address("10.0.0.2");
    lab.equal("pings of the guest answered across the wire", await guest.ping(peer.address, PINGS), PINGS);
    lab.equal("pings that the guest answered", await peer.ping("10.0.0.2", PINGS), PINGS);
    lab.equal("QEMU ends with 0", await guest.quit(), 0);
    lab.equal("vdpactl ends with 0", await daemon.stop(), 0);
    lab.note(
      "vdpactl gave a NIC to two front-ends, one after the other. No packet passed through vdpactl itself:",
    );
    show(daemon.stderr.text.match(/^queue .*$/gm)?.join("\n") ?? "");
  },
});
