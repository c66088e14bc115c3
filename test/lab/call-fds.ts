// Call fds that are refused: by vdpactl, as they are no eventfds, and by VFIO, as the machine has no interrupt vector
// left. The ring goes on each time, and a good one works afterwards.
import { closeSync, openSync } from "node:fs";
import { createEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../src/hw/ffi/unix-socket.ts";
import { messageOf } from "../../src/hw/operator-error.ts";
import type { PciFunction } from "../../src/hw/pci-function.ts";
import { openVfio } from "../../src/hw/vfio/open.ts";
import { passFrames } from "../e2e/support/well-behaved.ts";
import { connectGuest, type Guest } from "../support/front-end/guest.ts";
import { Request, words } from "../support/front-end/protocol.ts";
import { command } from "./harness/command.ts";
import { footprintAgain, restingFootprint } from "./harness/footprint.ts";
import { hugepages } from "./harness/hugepages.ts";
import type { Lab } from "./harness/lab.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";
import { serve } from "./harness/vdpactl.ts";

const SOCKET = "/tmp/call-fds.sock";
const FRAMES = 100;
/** The receive queue: its interrupts tell of frames that came back. */
const QUEUE = 0;
/** Devices that take vectors, and how many each: more than an x86 machine with two processors has. */
const CROWD = 4;
const CROWD_VECTORS = 128;

/** Interrupts that only a connected queue has: one may be late. */
const SEVERAL = 2;

let sent = 0;

/** Frames go there and back; how many interrupts of the queue came with them. */
async function interrupts(guest: Guest): Promise<number> {
  // One of before may not have been taken yet.
  await guest.idle();
  const before = guest.interrupts[QUEUE] ?? 0;
  await passFrames(guest, { frames: FRAMES, from: sent, window: 16 });
  sent += FRAMES;
  return (guest.interrupts[QUEUE] ?? 0) - before;
}

/** The back-end's ack to a call fd, 0 for success. The fd is closed. */
async function offer(guest: Guest, fd: number): Promise<bigint> {
  const ack = await guest.fe.ack(Request.SET_VRING_CALL, words(BigInt(QUEUE)), [fd]);
  closeFd(fd);
  return ack;
}

async function wrongKinds(lab: Lab, daemon: Program, guest: Guest): Promise<void> {
  await command("mkfifo", "/tmp/call.fifo");
  const [socket, otherEnd] = unixSocketPair();
  const kinds = {
    memfd: memfd("no-eventfd", 4096),
    socket,
    pipe: openSync("/tmp/call.fifo", "r+"),
    directory: openSync("/tmp", "r"),
    file: openSync("/proc/self/status", "r"),
  };
  const before = await restingFootprint(daemon.pid);
  for (const [kind, fd] of Object.entries(kinds)) {
    lab.check(`a ${kind} is refused`, (await offer(guest, fd)) !== 0n);
    const [line] = await daemon.stderr.expect(/SET_VRING_CALL refused.*no eventfd.*/);
    lab.note(line);
    lab.atLeast(`interrupts after the ${kind}`, await interrupts(guest), SEVERAL);
  }
  closeSync(otherEnd);
  lab.equal("what vdpactl holds after the wrong kinds", await footprintAgain(daemon.pid, before), before);
  await guest.replaceCall(guest.pairs[0]!.rx);
  lab.atLeast("interrupts after a good eventfd", await interrupts(guest), SEVERAL);
}

/** Takes interrupt vectors for a device; the first that the machine does not have any more, if one is refused. */
function fill(crowd: PciFunction, eventfd: number): number | undefined {
  crowd.enableMsix(CROWD_VECTORS);
  for (let vector = 0; vector < CROWD_VECTORS; vector++) {
    try {
      crowd.setVector(vector, eventfd);
    } catch (error) {
      if (messageOf(error).includes("ENOSPC")) return vector;
      throw error;
    }
  }
  return undefined;
}

async function noVectorLeft(lab: Lab, daemon: Program, guest: Guest): Promise<void> {
  const quiet = () => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const crowd: PciFunction[] = [];
  const eventfd = createEventfd();
  try {
    await guest.fe.setVringFd(Request.SET_VRING_CALL, QUEUE, -1);
    await guest.fe.barrier();
    let refused: number | undefined;
    for (const bdf of crowdBdfs(lab)) {
      const device = openVfio(bdf, { log });
      crowd.push(device);
      refused = fill(device, eventfd);
      if (refused !== undefined) break;
    }
    if (refused === undefined) throw new Error(`the machine has more than ${CROWD * CROWD_VECTORS} vectors`);
    lab.note(
      `others took ${(crowd.length - 1) * CROWD_VECTORS + refused} interrupt vectors, all that were left`,
    );
    const before = await restingFootprint(daemon.pid);
    lab.check("an eventfd that VFIO refuses: refused", (await offer(guest, createEventfd())) !== 0n);
    const [line] = await daemon.stderr.expect(/SET_VRING_CALL refused.*/);
    lab.check("it says why", /vector 1 can not signal.*no interrupt vector is left/.test(line), line);
    lab.equal("what vdpactl holds after the eventfd", await footprintAgain(daemon.pid, before), before);
    lab.equal("interrupts, which the front-end now does without", await interrupts(guest), 0);
    crowd[0]!.setVector(0, -1);
    await guest.replaceCall(guest.pairs[0]!.rx);
    lab.atLeast("interrupts after a vector was free again", await interrupts(guest), SEVERAL);
  } finally {
    for (const device of crowd) device.close();
    closeFd(eventfd);
  }
}

const crowdNames = Array.from({ length: CROWD }, (_, i) => `crowd-${i}`);
const crowdBdfs = (lab: Lab) => crowdNames.map((name) => lab.device(name).bdf);

export default scenario({
  summary: "call fds that vdpactl or VFIO refuses: the ring goes on, and a good one works afterwards",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short" },
      { kind: "nic", name: "peer", wire: "short" },
      ...crowdNames.map((name) => ({ kind: "nic" as const, name, vectors: CROWD_VECTORS })),
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(128);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    const peer = await Testpmd.start({ name: "peer", pci: [lab.device("peer").bdf], forward: "io" });
    await peer.run("start");
    const daemon = await serve({ device: lab.device("served"), socket: SOCKET });
    const guest = await connectGuest({ socketPath: SOCKET, ringSize: 64 });
    try {
      lab.atLeast("interrupts at first", await interrupts(guest), SEVERAL);
      await wrongKinds(lab, daemon, guest);
      await noVectorLeft(lab, daemon, guest);
      await guest.stop();
    } finally {
      guest.close();
    }
    const { rx_packets, tx_packets } = await peer.stats();
    lab.equal("frames that the peer received and sent in all", [rx_packets, tx_packets], [sent, sent]);
    lab.equal("vdpactl ends with 0", await daemon.stop(), 0);
    await peer.quit();
  },
});
