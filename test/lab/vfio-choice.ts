// Which way vdpactl opens a device: through its IOMMU group on a kernel without iommufd, by its own node and iommufd on
// one with both, and through the group again where this user can not have those.
import { chmodSync, renameSync, statSync } from "node:fs";
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest, type GuestOptions } from "../support/front-end/guest.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";
import { loadVfio, loadVfioWithIommufd, openVfioNodes, unloadVfio } from "./harness/vfio.ts";

const SOCKET = "/tmp/vfio-choice.sock";
const IOMMUFD = "/dev/iommu";
const NOBODY = 65534;
/** Less than a guest of 3 x 4 MiB needs, and more than the usual one of these scenarios. */
const MEMLOCK_KIB = 8192;

/** Runs what follows as a user without rights, who may lock MEMLOCK_KIB. */
const asNobody = [
  ...["prlimit", `--memlock=${MEMLOCK_KIB * 1024}`, "setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`],
  ...["--clear-groups", "--inh-caps=-all", "--no-new-privs"],
];

async function visit(options: GuestOptions = {}): Promise<void> {
  const guest = await connectGuest({ socketPath: SOCKET, packed: true, ringSize: 64, ...options });
  try {
    await passFrames(guest, { frames: 64 });
    await guest.stop();
  } finally {
    guest.close();
  }
}

interface Case {
  name: string;
  way: "group" | "iommufd";
  under?: string[];
  log?: RegExp;
  also?(daemon: Program): Promise<void>;
}

async function opens(lab: Lab, { name, way, under = [], log, also }: Case): Promise<void> {
  const device = lab.device("served");
  const [record] = (await vdpactlJson("probe", device.bdf)) as { vfio: string }[];
  if (under.length === 0) lab.equal(`${name}: what probe says`, record?.vfio, way);
  const daemon = await serve({ device, socket: SOCKET, under });
  const own = device.vfioNode ?? "none";
  const nodes = way === "group" ? [`/dev/vfio/${device.group}`, "/dev/vfio/vfio"] : [IOMMUFD, own];
  lab.equal(`${name}: VFIO nodes that are open`, openVfioNodes(daemon.pid), nodes.sort());
  if (log === undefined) lab.equal(`${name}: words about it`, daemon.stderr.text.includes("opened"), false);
  else lab.check(`${name}: the log says why`, true, (await daemon.stderr.expect(log))[0]);
  await visit();
  await also?.(daemon);
  lab.equal(`${name}: frames pass, and vdpactl ends with 0`, await daemon.stop(), 0);
}

/** iommufd counts locked memory by user, and the refusal says so. */
async function tooMuchMemory(lab: Lab, daemon: Program): Promise<void> {
  const region = (index: number) => ({
    gpa: BigInt(index) << 32n,
    uva: 0x7f10_0000_0000n + (BigInt(index) << 32n),
    size: 4 << 20,
    file: "ram",
  });
  const refused = await visit({ memory: [0, 1, 2].map(region) }).catch((error: unknown) => error);
  lab.check("as a user with little memlock: a large guest is refused", refused instanceof Error, refused);
  const why = new RegExp(`the memlock limit is ${MEMLOCK_KIB} KiB for all processes of this user together`);
  lab.check("the log says why", true, (await daemon.stderr.expect(why))[0]);
  await visit();
}

export default scenario({
  summary: "VFIO by group or by iommufd: whichever kernel and user allow, chosen without being told",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    hugepages(96);
    const served = lab.device("served");
    const bindFor = (user: number) => vdpactl("bind", "--owner", String(user), served.bdf);
    await loadVfio();
    lab.equal("kernel without iommufd: bind --owner ends with", (await bindFor(NOBODY)).code, 0);
    lab.equal(
      "kernel without iommufd: owner of the group",
      statSync(`/dev/vfio/${served.group}`).uid,
      NOBODY,
    );
    lab.equal("kernel without iommufd: the device's own node", served.vfioNode, undefined);
    await lab.device("peer").handTo("vfio-pci");
    let peer = await startPeer(lab);
    await opens(lab, { name: "kernel without iommufd", way: "group" });
    await peer.quit();
    for (const device of lab.devices) await device.handTo("virtio-pci");
    await unloadVfio();

    await loadVfioWithIommufd();
    for (const device of lab.devices) await device.handTo("vfio-pci");
    peer = await startPeer(lab);
    await opens(lab, {
      name: "kernel with iommufd",
      way: "iommufd",
      also: async (daemon) => {
        const second = await vdpactl("serve", "--pci", served.bdf, "--socket", "/tmp/second.sock");
        lab.equal("a second one on the device: exit code", second.code, 3);
        const holder = `vdpactl (pid ${daemon.pid}) uses it`;
        lab.check(`a second one is told: ${holder}`, second.stderr.includes(holder), second.stderr.trim());
      },
    });
    renameSync(IOMMUFD, `${IOMMUFD}.away`);
    await opens(lab, {
      name: `without ${IOMMUFD}`,
      way: "group",
      log: /opened through its IOMMU group, as \/dev\/iommu can not be opened \(ENOENT\)/,
    });
    renameSync(`${IOMMUFD}.away`, IOMMUFD);

    lab.equal("kernel with iommufd: bind --owner ends with", (await bindFor(NOBODY)).code, 0);
    await opens(lab, {
      name: `as a user who may not open ${IOMMUFD}`,
      way: "group",
      under: asNobody,
      log: /opened through its IOMMU group, as \/dev\/iommu can not be opened \(EACCES\)/,
    });
    chmodSync(IOMMUFD, 0o666);
    await opens(lab, {
      name: `as a user who may open ${IOMMUFD}`,
      way: "iommufd",
      under: asNobody,
      also: (daemon) => tooMuchMemory(lab, daemon),
    });
    await peer.quit();
  },
});

async function startPeer(lab: Lab): Promise<Testpmd> {
  const peer = await Testpmd.start({ name: "peer", pci: [lab.device("peer").bdf], forward: "io" });
  await peer.run("start");
  return peer;
}
