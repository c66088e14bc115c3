// What a device signals: too few MSI-X vectors for its queues, a single one and none at all; a PCI error, and that the
// kernel wants it back while a front-end has it.
import { openSync, writeSync } from "node:fs";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest, type Guest } from "../support/front-end/guest.ts";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { type NicShape, pairsOf, vectorsOf } from "./harness/shape.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve, vdpactl, vdpactlJson } from "./harness/vdpactl.ts";
import { loadVfio } from "./harness/vfio.ts";

const FRAMES = 200;
/** Frames on their way at once: more than that the wire may drop. */
const WINDOW = 16;
const SPEED = 25_000;

interface ProbeRecord {
  state: string;
  msix_vectors: number;
  config: { speed_mbps: number | null; duplex: string | null };
  obstacles: { code: string }[];
}

async function probe({ bdf }: Device): Promise<ProbeRecord> {
  const [record] = (await vdpactlJson("probe", bdf)) as [ProbeRecord];
  return record;
}

interface Case {
  device: string;
  /** Vector of each queue, and whether its interrupts pass through vdpactl. */
  queues: readonly (readonly [vector: number, call: "direct" | "relay"])[];
}

interface Served {
  daemon: Program;
  guest: Guest;
}

/** Frames go both ways on every pair, and each queue's interrupts arrive. The front-end stays. */
async function fewVectors(lab: Lab, { device: name, queues }: Case): Promise<Served> {
  const device = lab.device(name);
  const shape = device.shape as NicShape;
  const label = (what: string) => `${name}: ${what}`;
  const socket = `/tmp/${name}.sock`;
  const daemon = await serve({ device, socket });
  const guest = await connectGuest({ socketPath: socket, pairs: pairsOf(shape), ringSize: 64 });
  const [, has, wanted, shared] = await daemon.stderr.expect(
    /has (\d+) MSI-X vectors, (\d+) would give each queue its own: vector (\d+) is shared/,
  );
  lab.equal(label("vectors, those wanted, and the one shared"), [has, wanted, shared].map(Number), [
    vectorsOf(shape),
    queues.length + 1,
    vectorsOf(shape) - 1,
  ]);
  const told: (readonly [number, string])[] = [];
  for (const queue of queues.keys()) {
    const [, vector, call] = await daemon.stderr.expect(
      new RegExp(`queue ${queue} .* vector (\\d+) call (\\w+)`),
    );
    told.push([Number(vector), call!]);
  }
  lab.equal(label("vector and way of each queue's interrupts"), told, [...queues]);
  // Pair after pair: the wire returns frames to the pair that sent last.
  for (const pair of guest.pairs.keys())
    await passFrames(guest, { frames: FRAMES, window: WINDOW, pairs: [pair] });
  for (const queue of queues.keys()) {
    lab.atLeast(label(`interrupts of queue ${queue}`), guest.interrupts[queue] ?? 0, 2);
  }
  return { daemon, guest };
}

async function noVectors(lab: Lab, device: Device): Promise<void> {
  const { state, msix_vectors, obstacles } = await probe(device);
  lab.equal(
    "none: probe",
    { state, msix_vectors, obstacles: obstacles.map(({ code }) => code) },
    { state: "ready", msix_vectors: 0, obstacles: ["no_vectors"] },
  );
  const { code, stderr } = await vdpactl("serve", "--pci", device.bdf, "--socket", "/tmp/none.sock");
  lab.equal("none: serve's exit code", code, 3);
  lab.check(
    "none: says why and what to do",
    /no MSI-X vectors\n.*try: .*vectors=N/.test(stderr),
    stderr.trim().replaceAll(/\n\s*/g, "; "),
  );
}

/** vdpactl ends by itself: the front-end is let go, and the log says why. */
async function ends(lab: Lab, name: string, { daemon, guest }: Served, reason: string): Promise<void> {
  await guest.fe.channel.closed();
  guest.close();
  lab.equal(`${name}: exit code`, await daemon.exited, 1);
  const words = daemon.stderr.text.trim().split("\n").at(-1) ?? "";
  lab.check(`${name}: the log says so`, words.includes(reason), words);
}

/** An uncorrectable error that is not fatal (struct aer_error_inj of drivers/pci/pcie/aer_inject.c). */
function injectError(bdf: string): void {
  const COMPLETION_TIMEOUT = 1 << 14;
  const [domain, bus, slot, fn] = bdf.split(/[:.]/).map((part) => Number.parseInt(part, 16));
  const error = Buffer.alloc(32);
  error.set([bus!, slot!, fn!]);
  error.writeUInt32LE(COMPLETION_TIMEOUT, 4);
  error.writeUInt32LE(domain!, 28);
  const file = openSync("/dev/aer_inject", "w");
  writeSync(file, error);
  closeFd(file);
}

export default scenario({
  summary: "few MSI-X vectors and none, a PCI error, and a device that the kernel wants back",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "three", pairs: 2, vectors: 3, wire: "a" },
      { kind: "nic", name: "three-peer", wire: "a" },
      { kind: "nic", name: "one", vectors: 1, speed: SPEED, aer: true, wire: "b" },
      { kind: "nic", name: "one-peer", wire: "b" },
      { kind: "nic", name: "none", vectors: 0 },
    ],
  },
  async run(lab) {
    await loadVfio();
    await command("modprobe", "aer_inject");
    hugepages(128);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const peer = await Testpmd.start({
      name: "peers",
      pci: ["three-peer", "one-peer"].map((name) => lab.device(name).bdf),
      forward: "io",
      extra: ["--port-topology=loop"],
    });
    await peer.run("start");
    await noVectors(lab, lab.device("none"));
    const { speed_mbps, duplex } = (await probe(lab.device("one"))).config;
    lab.equal("one: speed and duplex that probe tells", [speed_mbps, duplex], [SPEED, "full"]);

    const three = await fewVectors(lab, {
      device: "three",
      queues: [
        [1, "direct"],
        [2, "relay"],
        [2, "relay"],
        [2, "relay"],
      ],
    });
    const one = await fewVectors(lab, {
      device: "one",
      queues: [
        [0, "relay"],
        [0, "relay"],
      ],
    });

    // The kernel waits for whoever has the device when its driver is to let go of it.
    const { bdf, sysfs } = lab.device("three");
    await command("sh", "-c", `echo ${bdf} > ${sysfs}/driver/unbind`);
    await ends(lab, "asked back", three, "was asked back by the kernel");
    lab.equal("asked back: the device's driver afterwards", lab.device("three").driver, undefined);

    injectError(lab.device("one").bdf);
    await ends(lab, "PCI error", one, "reported an unrecoverable PCI error");
    await peer.quit();
  },
});
