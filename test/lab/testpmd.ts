// DPDK's virtio-user through vdpactl on a real NIC: split and packed rings, one pair and two. At the wire's other end
// DPDK's own driver returns every frame.

import { circulate } from "./harness/circulation.ts";
import { command } from "./harness/command.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve } from "./harness/vdpactl.ts";

const FRAMES = 10_000;

interface Case {
  near: string;
  far: string;
  pairs: number;
  packed: boolean;
}

async function pass(lab: Lab, { near, far, pairs, packed }: Case): Promise<void> {
  const name = (what: string) =>
    `${packed ? "packed" : "split"}, ${pairs} pair${pairs > 1 ? "s" : ""}: ${what}`;
  const device = lab.device(near);
  const socket = `/tmp/${near}.sock`;
  const daemon = await serve({ device, socket });
  const peer = await Testpmd.start({ name: `peer-${far}`, pci: [lab.device(far).bdf], pairs, forward: "io" });
  await peer.run("start");
  const frontEnd = await Testpmd.start({
    name: `front-end-${near}`,
    vdevs: [
      `net_virtio_user0,path=${socket},queues=${pairs},queue_size=256,packed_vq=${packed ? 1 : 0},mac=${device.mac}`,
    ],
    pairs,
    forward: "io",
    // Different flows, so that frames return on every pair.
    extra: ["--txonly-multi-flow"],
  });
  const ends = await circulate(frontEnd, peer, FRAMES);
  lab.atLeast(name("frames that came back"), ends.near.rx_packets, FRAMES);
  lab.equal(
    name("sent by the front-end and received by the peer"),
    ends.far.rx_packets,
    ends.near.tx_packets,
  );
  lab.equal(
    name("sent by the peer and received by the front-end"),
    ends.near.rx_packets,
    ends.far.tx_packets,
  );
  const errors = [ends.near, ends.far].flatMap((end) => [
    end.rx_errors,
    end.rx_missed,
    end.rx_nombuf,
    end.tx_errors,
  ]);
  lab.equal(
    name("errors and drops at either end"),
    errors,
    errors.map(() => 0),
  );
  for (const direction of ["tx", "rx"] as const) {
    const counts = await frontEnd.perQueue(direction);
    lab.equal(name(`${direction} queues in use`), counts.filter((count) => count > 0).length, pairs);
  }
  lab.equal(name("the front-end leaves with 0"), await frontEnd.quit(), 0);
  lab.equal(name("the peer leaves with 0"), await peer.quit(), 0);
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary: "DPDK virtio-user through vdpactl: split and packed, one pair and two, no frame lost",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "single", wire: "short", packed: true },
      { kind: "nic", name: "single-peer", wire: "short" },
      { kind: "nic", name: "double", wire: "wide", packed: true, pairs: 2 },
      { kind: "nic", name: "double-peer", wire: "wide", pairs: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(320);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    for (const packed of [false, true]) {
      await pass(lab, { near: "single", far: "single-peer", pairs: 1, packed });
      await pass(lab, { near: "double", far: "double-peer", pairs: 2, packed });
    }
  },
});
