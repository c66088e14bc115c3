// A device opened by its own node and iommufd: frames, interrupts, memory that comes and goes under running rings,
// addresses that the IOMMU does not have, reset, a daemon that is killed, and the kernel that wants the device back.
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest, type Guest } from "../support/front-end/guest.ts";
import { createRegions, type Region } from "../support/front-end/guest-memory.ts";
import { memReg, type RegionDescription, Request } from "../support/front-end/protocol.ts";
import { circulate } from "./harness/circulation.ts";
import { command } from "./harness/command.ts";
import { footprint, footprintAgain, restingFootprint } from "./harness/footprint.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve } from "./harness/vdpactl.ts";
import { loadVfioWithIommufd, openVfioNodes } from "./harness/vfio.ts";

const SOCKET = "/tmp/iommufd.sock";
const FRAMES = 10_000;
const HOTPLUGS = 10;
const MIB = 1 << 20;

const start = (lab: Lab) => serve({ device: lab.device("served"), socket: SOCKET });
const visitor = (packed: boolean) => connectGuest({ socketPath: SOCKET, packed, ringSize: 64 });
const pinned = (daemon: Program) => footprint(daemon.pid).locked_kib;

async function dpdk(lab: Lab, daemon: Program, peer: Testpmd): Promise<void> {
  const near = await Testpmd.start({
    name: "front-end",
    vdevs: [
      `net_virtio_user0,path=${SOCKET},queues=1,queue_size=256,packed_vq=1,mac=${lab.device("served").mac}`,
    ],
    forward: "io",
  });
  const ends = await circulate(near, peer, FRAMES);
  lab.atLeast("DPDK: frames that came back", ends.near.rx_packets, FRAMES);
  lab.equal("DPDK: sent and received by the peer", ends.far.rx_packets, ends.near.tx_packets);
  lab.equal("DPDK: sent by the peer and received", ends.near.rx_packets, ends.far.tx_packets);
  lab.atLeast("DPDK: KiB of its memory that are pinned", pinned(daemon), 128 * 1024);
  lab.equal("DPDK leaves with 0", await near.quit(), 0);
}

/** Memory comes and goes under running rings; each time exactly that is mapped. */
async function hotplug(lab: Lab, daemon: Program, guest: Guest): Promise<void> {
  const plan = { gpa: 3n << 32n, uva: 0x7d00_0000_0000n, size: 4 * MIB, file: "dimm" };
  const [dimm] = createRegions([plan]) as [Region];
  const before = pinned(daemon);
  const growth: number[] = [];
  for (let round = 0; round < HOTPLUGS; round++) {
    await guest.fe.addMemReg(dimm.description, dimm.fd);
    growth.push(pinned(daemon) - before);
    await passFrames(guest, { frames: 32 });
    await guest.fe.remMemReg(dimm.description);
    growth.push(pinned(daemon) - before);
  }
  dimm.close();
  const expected = Array.from({ length: HOTPLUGS }, () => [plan.size / 1024, 0]).flat();
  lab.equal("hotplug: KiB pinned more, after each region added and removed", growth, expected);
}

/** Each range that can not be mapped is refused by name, and nothing else changes. */
async function ranges(lab: Lab, daemon: Program, guest: Guest): Promise<void> {
  const before = pinned(daemon);
  const refuse = async (name: string, gpa: bigint, why: RegExp) => {
    const plan = { gpa, uva: 0x7d00_0000_0000n, size: MIB, file: "refused" };
    const [region] = createRegions([plan]) as [Region];
    daemon.stderr.skip();
    const description: RegionDescription = region.description;
    const ack = await guest.fe.ack(Request.ADD_MEM_REG, memReg(description), [region.fd]);
    region.close();
    const [words] = await daemon.stderr.expect(why);
    lab.check(`${name}: refused by name`, ack !== 0n, words);
  };
  await refuse(
    "memory over the interrupt window",
    0xfee0_0000n - 4096n,
    /GPA 0xfedff000.0xfeefefff: it lies over 0xfee00000.0xfeefffff, which the IOMMU reserves/,
  );
  await refuse(
    "memory beyond the IOMMU's width",
    1n << 48n,
    /GPA 0x1000000000000.0x10000000fffff: it needs 49 address bits and the IOMMU has 48/,
  );
  lab.equal("KiB pinned after the refusals", pinned(daemon), before);
  await passFrames(guest, { frames: 64 });
}

const interrupted = (guest: Guest) => guest.interrupts.map((count) => count > 0);

async function guests(lab: Lab, daemon: Program): Promise<void> {
  for (const packed of [false, true]) {
    const name = packed ? "packed" : "split";
    const guest = await visitor(packed);
    await passFrames(guest, { frames: 500 });
    lab.equal(`${name}: queues whose interrupts arrived`, interrupted(guest), [true, true]);
    await hotplug(lab, daemon, guest);
    await ranges(lab, daemon, guest);
    await guest.stop();
    guest.interrupts.fill(0);
    await guest.start();
    await passFrames(guest, { frames: 100 });
    lab.equal(`${name}: the same after a reset, when 100 frames passed`, interrupted(guest), [true, true]);
    guest.close();
  }
}

/** What the kernel complained of. */
async function complaints(): Promise<string[]> {
  const lines = (await command("dmesg", "--level=emerg,alert,crit,err,warn")).split("\n");
  return lines.filter((line) => /DMAR:.*fault|WARNING:|BUG:|Oops|general protection/.test(line));
}

export default scenario({
  summary:
    "a NIC by its own node and iommufd: frames, hotplug, refused ranges, reset, the kernel takes it back",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await loadVfioWithIommufd();
    hugepages(192);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const peer = await Testpmd.start({ name: "peer", pci: [lab.device("peer").bdf], forward: "io" });
    await peer.run("start");
    const served = lab.device("served");
    let daemon = await start(lab);
    const nodes = ["/dev/iommu", served.vfioNode];
    lab.equal("VFIO nodes that are open", openVfioNodes(daemon.pid), nodes);

    const empty = await restingFootprint(daemon.pid);
    lab.equal("KiB pinned without a front-end", empty.locked_kib, 0);
    const released = async (who: string) => {
      const held = await footprintAgain(daemon.pid, empty);
      lab.equal(`after ${who}: fds, mappings and pinned KiB`, held, empty);
    };
    await dpdk(lab, daemon, peer);
    await released("DPDK");
    await guests(lab, daemon);
    await released("the guests");

    const guest = await visitor(true);
    await passFrames(guest, { frames: 100 });
    daemon.signal("SIGKILL");
    lab.equal("killed while rings run: exit code", await daemon.exited, 137);
    guest.close();
    daemon = await start(lab);
    const next = await visitor(true);
    await passFrames(next, { frames: 100 });
    // The kernel waits for whoever has the device when its driver is to let go of it.
    await command("sh", "-c", `echo ${served.bdf} > ${served.sysfs}/driver/unbind`);
    lab.equal("asked for the device by the kernel: exit code", await daemon.exited, 1);
    const words = daemon.stderr.text;
    lab.check(
      "the log says so",
      words.includes("was asked back by the kernel"),
      words.trim().split("\n").at(-1),
    );
    lab.equal("warnings at that", words.match(/^warning:.*$/gm), null);
    lab.equal("the device's driver afterwards", served.driver, undefined);
    next.close();
    await peer.quit();
    lab.equal("what the kernel complained of", await complaints(), []);
  },
});
