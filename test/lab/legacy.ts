// Devices with nothing but the legacy registers, in I/O ports and in a memory BAR. No IOMMU translates for them in this
// VM, so that they must be forced on, and the front-end's memory is a page whose guest address is its physical one.
import { readFileSync } from "node:fs";
import { passFrames } from "../e2e/support/well-behaved.ts";
import { Refused } from "../support/front-end/front-end.ts";
import { connectGuest, Guest, type GuestOptions } from "../support/front-end/guest.ts";
import { Feature } from "../support/front-end/protocol.ts";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import { hugepages } from "./harness/hugepages.ts";
import { KernelProbe } from "./harness/kernel-probe.ts";
import type { Lab } from "./harness/lab.ts";
import { physicalRegions } from "./harness/physical-page.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import type { NicShape } from "./harness/shape.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { until } from "./harness/until.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";

const SOCKET = "/tmp/legacy.sock";
const FRAMES = 500;
/** Frames on their way at once: more than that the wire may drop. */
const WINDOW = 32;
const PAGES = 3;

const front = (ringSize: number): GuestOptions => ({
  socketPath: SOCKET,
  legacy: true,
  ringSize,
  regions: physicalRegions(PAGES),
});

interface ProbeRecord {
  layout: string;
  state: string;
  queue_size: number;
  config: { mac: string };
  bars: { kind: string }[];
  doorbell: string;
  ring_reset: boolean;
  obstacles: { code: string }[];
}

type Bar = "ports" | "memory";

/** Flags of a resource in sysfs (IORESOURCE_IO, IORESOURCE_MEM of include/linux/ioport.h). */
const RESOURCE: Record<Bar, number> = { ports: 0x100, memory: 0x200 };

/** The device is what it is meant to be, and the kernel's driver can do with it. */
async function asTheKernelSeesIt(lab: Lab, device: Device, bar: Bar): Promise<void> {
  const flags = Number(device.read("resource").split("\n")[0]?.split(" ")[2]);
  lab.equal(`${bar}: BAR 0`, flags & (RESOURCE.ports | RESOURCE.memory), RESOURCE[bar]);
  const mac = readFileSync(`/sys/class/net/${await device.interface()}/address`, "utf8").trim();
  lab.equal(`${bar}: MAC that the kernel's driver reads`, mac, device.mac);
}

/** Returns the size that the device dictates for a ring. */
async function probed(lab: Lab, { bdf, mac }: Device, bar: Bar): Promise<number> {
  const [record] = (await vdpactlJson("probe", bdf)) as [ProbeRecord];
  const { layout, state, config, bars, doorbell, ring_reset, obstacles } = record;
  lab.equal(
    `${bar}: probe`,
    {
      layout,
      bar0: bars[0]?.kind,
      state,
      mac: config.mac,
      doorbell,
      ring_reset,
      obstacles: obstacles.map(({ code }) => code),
    },
    {
      layout: "legacy",
      bar0: bar === "ports" ? "io" : "memory",
      state: "ready",
      mac,
      doorbell: "ioeventfd",
      ring_reset: false,
      obstacles: ["no_access_platform"],
    },
  );
  return record.queue_size;
}

const inOneLine = (text: string) => text.trim().replaceAll(/\n\s*/g, "; ");

async function refused(lab: Lab, bdf: string): Promise<void> {
  const unforced = await vdpactl("serve", "--pci", bdf, "--socket", SOCKET);
  lab.equal("without --force: exit code", unforced.code, 4);
  lab.check(
    "without --force: says why and what to do",
    /would bypass the virtual IOMMU/.test(unforced.stderr) && /--force/.test(unforced.stderr),
    inOneLine(unforced.stderr),
  );
  const relayed = await vdpactl("serve", "--pci", bdf, "--socket", SOCKET, "--force", "--datapath", "relay");
  lab.equal("with --datapath relay: exit code", relayed.code, 3);
  lab.check(
    "with --datapath relay: says why",
    /legacy register layout/.test(relayed.stderr),
    inOneLine(relayed.stderr),
  );
}

/** What a front-end asks that the legacy registers can not do: each is refused, with words in the log. */
async function badRequests(
  lab: Lab,
  daemon: Program,
  label: (what: string) => string,
  ringSize: number,
): Promise<void> {
  const said = async (name: string, pattern: RegExp, attempt: () => Promise<unknown>) => {
    const refusal = await attempt().then(
      () => "it was taken",
      (error) => (error instanceof Refused ? "refused" : String(error)),
    );
    lab.equal(label(name), refusal, "refused");
    const [line] = await daemon.stderr.expect(pattern);
    lab.note(line);
  };
  const idle = await Guest.connect(front(ringSize));
  lab.equal(label("LOG_ALL is offered"), (await idle.fe.getFeatures()) & Feature.LOG_ALL, 0n);
  lab.equal(label("VERSION_1 is offered"), (await idle.fe.getFeatures()) & Feature.VERSION_1, 0n);
  await said("VERSION_1", /SET_FEATURES refused.*not offered: VERSION_1.*/, () =>
    idle.fe.setFeatures(idle.features | Feature.VERSION_1),
  );
  await idle.fe.setFeatures(idle.features);
  await said("a base that is not 0", /SET_VRING_BASE refused.*legacy register layout.*/, () =>
    idle.fe.setVringBase(0, 5),
  );
  idle.close();
  await said("a ring of another size", /the legacy layout dictates .* entries, .* are wanted.*/, async () =>
    (await connectGuest(front(ringSize / 2))).close(),
  );
  const apart = await Guest.connect(front(ringSize));
  apart.machine.bend = (_, addresses) => ({ ...addresses, usedUva: addresses.usedUva + 64n });
  await said("a ring in pieces", /wants the available ring at .* they are at .*/, () => apart.start());
  apart.close();
}

/** What --trace tells of a start: the device's registers by the kernel's names for them. */
function traced(lab: Lab, label: (what: string) => string, text: string): void {
  const told = [...text.matchAll(/^trace: (?:register|function) (.*)$/gm)].map(([, line]) => line!);
  const expected = [
    /^STATUS = 0x1 \[ACKNOWLEDGE\]$/,
    /^GUEST_FEATURES = 0x\w+ \[.+\]$/,
    /^MSI_CONFIG_VECTOR = 0$/,
    /^QUEUE_SEL = 1$/,
    /^MSI_QUEUE_VECTOR = \d+ \(queue 1\)$/,
    /^QUEUE_PFN = 0x\w+ \(queue 1\)$/,
    /^STATUS = 0x7 \[ACKNOWLEDGE DRIVER DRIVER_OK\]$/,
    /^doorbell of queue 1 connected to eventfd \d+$/,
    /^QUEUE_NOTIFY = 1$/,
  ];
  const missing = expected.filter((pattern) => !told.some((line) => pattern.test(line)));
  lab.equal(label("registers that --trace does not tell of"), missing.map(String), []);
}

interface Case {
  name: string;
  device: Device;
  args: string[];
  ringSize: number;
  doorbell: "ioeventfd" | "relay";
}

async function served(
  lab: Lab,
  peer: Testpmd,
  probe: KernelProbe,
  { name, device, args, ringSize, doorbell }: Case,
): Promise<void> {
  const daemon = await serve({ device, socket: SOCKET, args: ["--force", ...args] });
  const label = (what: string) => `${name}: ${what}`;
  const before = await peer.stats();
  const rung = probe.calls;
  const guest = await connectGuest(front(ringSize));
  const lines = [];
  for (const queue of [0, 1]) {
    const [line] = await daemon.stderr.expect(new RegExp(`queue ${queue} .* direct doorbell (\\S+) .*`));
    lines.push(line.match(/doorbell (\S+)/)?.[1]);
  }
  lab.equal(label("doorbells"), lines, [doorbell, doorbell]);
  if (args.includes("--trace")) traced(lab, label, daemon.stderr.text);
  await passFrames(guest, { frames: FRAMES, window: WINDOW });
  const kicks = guest.machine.queues.reduce((sum, queue) => sum + queue.kicks, 0);
  lab.equal(
    label("kicks that the kernel passed on"),
    probe.calls - rung,
    doorbell === "ioeventfd" ? kicks : 0,
  );
  lab.atLeast(label("interrupts of the transmit queue"), guest.interrupts[1] ?? 0, 1);

  // Its driver resets the device, and starts it again.
  await guest.stop();
  await guest.start();
  await passFrames(guest, { frames: FRAMES, from: FRAMES, window: WINDOW });
  guest.close();
  if (doorbell === "ioeventfd") await badRequests(lab, daemon, label, ringSize);

  // Another front-end.
  const next = await connectGuest(front(ringSize));
  await passFrames(next, { frames: FRAMES, window: WINDOW });
  await next.stop();
  next.close();
  await until(
    "the peer to have counted",
    async () => (await peer.stats()).tx_packets >= before.tx_packets + 3 * FRAMES,
  );
  const after = await peer.stats();
  lab.equal(
    label("frames that the peer received and sent"),
    [after.rx_packets - before.rx_packets, after.tx_packets - before.tx_packets],
    [3 * FRAMES, 3 * FRAMES],
  );
  lab.equal(label("vdpactl ends with 0"), await daemon.stop(), 0);
}

async function servedEitherWay(lab: Lab, bar: Bar, probe: KernelProbe): Promise<void> {
  const [device, wirePeer] = [lab.device(bar), lab.device(`${bar}-peer`)];
  await asTheKernelSeesIt(lab, device, bar);
  for (const one of [device, wirePeer]) await one.handTo("vfio-pci");
  const ringSize = await probed(lab, device, bar);
  if (bar === "ports") await refused(lab, device.bdf);
  const peer = await Testpmd.start({ name: wirePeer.shape.name, pci: [wirePeer.bdf], forward: "io" });
  await peer.run("start");
  const common = { device, ringSize };
  await served(lab, peer, probe, { ...common, name: bar, args: ["--trace"], doorbell: "ioeventfd" });
  await served(lab, peer, probe, {
    ...common,
    name: `${bar}, relayed doorbells`,
    args: ["--doorbell", "relay"],
    doorbell: "relay",
  });
  await peer.quit();
}

const legacy = (bar: Bar): NicShape[] => [
  { kind: "nic", name: bar, layout: "legacy", legacyBar: bar, controlQueue: false, wire: bar },
  { kind: "nic", name: `${bar}-peer`, wire: bar },
];

export default scenario({
  summary:
    "legacy registers only, in ports and in memory: refused unless forced, served, and what they can not do",
  usesVdpactl: true,
  vm: { devices: [...legacy("ports"), ...legacy("memory")] },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(140);
    const probe = await KernelProbe.on("vfio_pci_ioeventfd_handler");
    await servedEitherWay(lab, "ports", probe);
    await servedEitherWay(lab, "memory", probe);
  },
});
