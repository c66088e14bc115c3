// DPDK's virtio-user through vdpactl on a real NIC: split and packed rings, one pair and two. At the wire's other end
// DPDK's own driver returns every frame. The NIC of one pair uses what it is given in order and says so (IN_ORDER); its
// rings are relayed too, from the start and on demand.

import { circulate, comeBack } from "./harness/circulation.ts";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import { migrate, modes } from "./harness/migrate.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { type NicShape, pairsOf } from "./harness/shape.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve, vdpactlJson } from "./harness/vdpactl.ts";

const FRAMES = 10_000;
/** Each of these passes through a busy thread of a machine that is emulated. */
const RELAYED_FRAMES = 2000;

interface Case {
  packed: boolean;
  datapath: "auto" | "relay";
  /** Has the rings go to the relay and back while frames go round. */
  switches: boolean;
}

/** What `vdpactl stats` tells, as far as it is used. */
interface Stats {
  features: { device: string[]; negotiated: string[] };
}

/** One front-end with one kind of ring. */
class Run {
  constructor(
    readonly lab: Lab,
    readonly device: Device,
    readonly test: Case,
  ) {}

  get nic(): NicShape {
    return this.device.shape as NicShape;
  }

  name(what: string): string {
    const { packed, datapath } = this.test;
    const pairs = pairsOf(this.nic);
    const kind = `${packed ? "packed" : "split"}, ${pairs} pair${pairs > 1 ? "s" : ""}`;
    return `${kind}${datapath === "relay" ? ", relayed" : ""}: ${what}`;
  }

  async pass(peer: Testpmd): Promise<void> {
    const { lab, device, test } = this;
    const pairs = pairsOf(this.nic);
    const frames = test.datapath === "relay" ? RELAYED_FRAMES : FRAMES;
    const socket = `/tmp/${this.nic.name}.sock`;
    const daemon = await serve({ device, socket, args: ["--datapath", test.datapath, "--trace"] });
    const frontEnd = await Testpmd.start({
      name: `front-end-${this.nic.name}`,
      vdevs: [
        `net_virtio_user0,path=${socket},queues=${pairs},queue_size=256,packed_vq=${test.packed ? 1 : 0},mac=${device.mac}`,
      ],
      pairs,
      forward: "io",
      // Different flows, so that frames return on every pair.
      extra: ["--txonly-multi-flow"],
    });
    await this.negotiated(daemon);
    await peer.run("clear port stats all");
    const { near, far } = await circulate(frontEnd, peer, frames, () => this.meanwhile(frontEnd));
    lab.atLeast(this.name("frames that came back"), near.rx_packets, frames);
    lab.equal(this.name("sent by the front-end and received by the peer"), far.rx_packets, near.tx_packets);
    lab.equal(this.name("sent by the peer and received by the front-end"), near.rx_packets, far.tx_packets);
    const errors = [near, far].flatMap((end) => [end.rx_errors, end.rx_missed, end.rx_nombuf, end.tx_errors]);
    lab.equal(
      this.name("errors and drops at either end"),
      errors,
      errors.map(() => 0),
    );
    for (const direction of ["tx", "rx"] as const) {
      const counts = await frontEnd.perQueue(direction);
      lab.equal(this.name(`${direction} queues in use`), counts.filter((count) => count > 0).length, pairs);
    }
    lab.equal(this.name("the front-end leaves with 0"), await frontEnd.quit(), 0);
    lab.equal(this.name("vdpactl ends with 0"), await daemon.stop(), 0);
  }

  /** DPDK takes IN_ORDER wherever it is offered. */
  async negotiated(daemon: Program): Promise<void> {
    await daemon.stderr.expect(/ runs with \d+ rings /);
    const [state] = (await vdpactlJson("stats")) as [Stats];
    const { device, negotiated } = state.features;
    // What the device was told last, as its driver's features.
    const told = daemon.stderr.text.match(/register guest_feature = .*/g) ?? [];
    const inOrder = this.nic.inOrder === true;
    this.lab.equal(
      this.name("IN_ORDER offered by the device, taken by the front-end, and told to the device"),
      [device, negotiated, told.at(-1) ?? ""].map((features) => features.includes("IN_ORDER")),
      [inOrder, inOrder, inOrder],
    );
  }

  /** While frames go round. */
  async meanwhile(frontEnd: Testpmd): Promise<void> {
    const { lab, device, test } = this;
    const seen = [modes(await migrate("status", device))];
    const after = async (verb: string, ...args: string[]) => {
      seen.push(modes(await migrate(verb, device, ...args)));
      await comeBack(frontEnd, RELAYED_FRAMES);
    };
    const expected = [test.datapath === "relay" ? "relay" : "direct"];
    if (test.switches) {
      await after("prepare");
      // A split ring would return only after 65536 frames.
      await after("cancel", "--timeout", test.packed ? "300" : "0");
      expected.push("relay", test.packed ? "direct" : "relay");
    }
    lab.equal(
      this.name(`how the rings run${test.switches ? ", with prepare, with cancel" : ""}`),
      seen,
      expected.map((mode) => Array.from({ length: 2 * pairsOf(this.nic) }, () => mode)),
    );
  }
}

export default scenario({
  summary:
    "DPDK virtio-user through vdpactl: split and packed, one pair and two, with IN_ORDER, no frame lost",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "single", wire: "short", packed: true, inOrder: true },
      { kind: "nic", name: "single-peer", wire: "short" },
      { kind: "nic", name: "double", wire: "wide", packed: true, pairs: 2 },
      { kind: "nic", name: "double-peer", wire: "wide", pairs: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(320);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    for (const near of ["single", "double"]) {
      const device = lab.device(near);
      const far = lab.device(`${near}-peer`);
      const { inOrder = false, ...nic } = device.shape as NicShape;
      const peer = await Testpmd.start({
        name: `peer-${near}`,
        pci: [far.bdf],
        pairs: pairsOf(nic),
        forward: "io",
      });
      await peer.run("start");
      for (const packed of [false, true]) {
        await new Run(lab, device, { packed, datapath: "auto", switches: inOrder }).pass(peer);
        if (inOrder) await new Run(lab, device, { packed, datapath: "relay", switches: false }).pass(peer);
      }
      lab.equal(`${near}: the peer leaves with 0`, await peer.quit(), 0);
    }
  },
});
