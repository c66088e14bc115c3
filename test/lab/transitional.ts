// A device with both register layouts, as QEMU makes it for an old guest: without ACCESS_PLATFORM no IOMMU of this VM
// translates for it. It is served through its modern registers when that is forced, to a front-end whose guest
// addresses are physical ones.
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { Feature } from "../support/front-end/protocol.ts";
import { hugepages } from "./harness/hugepages.ts";
import { physicalRegions } from "./harness/physical-page.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";
import { loadVfio } from "./harness/vfio.ts";

const SOCKET = "/tmp/transitional.sock";
const FRAMES = 500;
/** Frames on their way at once: more than that the wire may drop. */
const WINDOW = 32;
const PAGES = 3;

interface ProbeRecord {
  layout: string;
  state: string;
  obstacles: { code: string }[];
}

export default scenario({
  summary: "a transitional device: refused unless forced, and served through its modern registers",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", layout: "transitional", controlQueue: false, wire: "short" },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await loadVfio();
    hugepages(136);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const peer = await Testpmd.start({ name: "peer", pci: [lab.device("peer").bdf], forward: "io" });
    await peer.run("start");
    const device = lab.device("served");

    const [record] = (await vdpactlJson("probe", device.bdf)) as [ProbeRecord];
    lab.equal(
      "probe",
      [record.layout, record.state, ...record.obstacles.map(({ code }) => code)],
      ["transitional", "ready", "no_access_platform"],
    );
    const unforced = await vdpactl("serve", "--pci", device.bdf, "--socket", SOCKET);
    lab.equal("without --force: exit code", unforced.code, 4);

    const daemon = await serve({ device, socket: SOCKET, args: ["--force", "--trace"] });
    const guest = await connectGuest({ socketPath: SOCKET, regions: physicalRegions(PAGES) });
    lab.check("VERSION_1 is negotiated", (guest.features & Feature.VERSION_1) !== 0n);
    for (const queue of [0, 1])
      await daemon.stderr.expect(new RegExp(`queue ${queue} .* direct doorbell ioeventfd`));
    lab.check(
      "registers of the modern layout",
      /register queue_enable = 1/.test(daemon.stderr.text) && !/QUEUE_PFN/.test(daemon.stderr.text),
    );
    await passFrames(guest, { frames: FRAMES, window: WINDOW });
    // Its driver resets the device, and starts it again.
    await guest.stop();
    await guest.start();
    await passFrames(guest, { frames: FRAMES, from: FRAMES, window: WINDOW });
    for (const queue of [0, 1]) lab.atLeast(`interrupts of queue ${queue}`, guest.interrupts[queue] ?? 0, 2);
    await guest.stop();
    guest.close();
    const { rx_packets, tx_packets } = await peer.stats();
    lab.equal("frames that the peer received and sent", [rx_packets, tx_packets], [2 * FRAMES, 2 * FRAMES]);
    lab.equal("vdpactl ends with 0", await daemon.stop(), 0);
    await peer.quit();
  },
});
