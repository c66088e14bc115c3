// Two pairs of a real NIC whose rings are relayed, each pair by a thread of its own, while DPDK's frames pass.
import { circulate } from "./harness/circulation.ts";
import { command } from "./harness/command.ts";
import { sleepingInEpoll, voluntarySwitches } from "./harness/footprint.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { until } from "./harness/until.ts";
import { serve } from "./harness/vdpactl.ts";

const FRAMES = 5000;
const PAIRS = 2;

async function pass(lab: Lab, packed: boolean): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const device = lab.device("served");
  const socket = `/tmp/threads-${packed ? "packed" : "split"}.sock`;
  const args = ["--datapath", "relay", "--relay-threads", `${PAIRS}`];
  const daemon = await serve({ device, socket, args });
  const peer = await Testpmd.start({
    name: "peer",
    pci: [lab.device("peer").bdf],
    pairs: PAIRS,
    forward: "io",
  });
  await peer.run("start");
  const frontEnd = await Testpmd.start({
    name: "front-end",
    vdevs: [
      `net_virtio_user0,path=${socket},queues=${PAIRS},queue_size=256,packed_vq=${packed ? 1 : 0},mac=${device.mac}`,
    ],
    pairs: PAIRS,
    forward: "io",
    extra: ["--txonly-multi-flow"],
  });
  const threads = await until("the device's thread and two relay threads to sleep", () => {
    const asleep = sleepingInEpoll(daemon.pid);
    return asleep.length === PAIRS + 1 ? asleep : undefined;
  });
  const switches = () => threads.map((thread) => voluntarySwitches(daemon.pid, thread));
  const before = switches();
  const { near, far } = await circulate(frontEnd, peer, FRAMES);
  const woken = switches().map((count, i) => count - before[i]!);
  lab.atLeast(name("frames that came back"), near.rx_packets, FRAMES);
  lab.equal(name("sent by the front-end and received by the peer"), far.rx_packets, near.tx_packets);
  lab.equal(name("sent by the peer and received by the front-end"), near.rx_packets, far.tx_packets);
  for (const direction of ["tx", "rx"] as const) {
    const counts = await frontEnd.perQueue(direction);
    lab.equal(name(`${direction} queues in use`), counts.filter((count) => count > 0).length, PAIRS);
  }
  // Doorbells and interrupts reach the relay threads through the kernel alone.
  lab.equal(name("threads that were not woken by traffic"), woken.filter((count) => count === 0).length, 1);
  lab.equal(name("the front-end leaves with 0"), await frontEnd.quit(), 0);
  lab.equal(name("the peer leaves with 0"), await peer.quit(), 0);
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary: "rings relayed by two threads on a real NIC: no frame lost, and the device's thread sleeps",
  usesVdpactl: true,
  extended: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "wide", packed: true, pairs: PAIRS },
      { kind: "nic", name: "peer", wire: "wide", pairs: PAIRS },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(320);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    for (const packed of [false, true]) await pass(lab, packed);
  },
});
