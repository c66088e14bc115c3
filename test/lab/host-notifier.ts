// The guest rings the device itself: QEMU maps the doorbell page into it (HOST_NOTIFIER). The page is taken back while
// the ring is relayed, and given again afterwards.
import { MIN_FRAME, writeFrame } from "../support/front-end/frame.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { attempt, command } from "./harness/command.ts";
import { sleepingInEpoll, voluntarySwitches } from "./harness/footprint.ts";
import { Guest } from "./harness/guest.ts";
import { KernelProbe } from "./harness/kernel-probe.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { until } from "./harness/until.ts";
import { serve } from "./harness/vdpactl.ts";

const SOCKET = "/tmp/notifier.sock";
const ADDRESS = "10.0.0.2";
const PINGS = 5;
const FRAMES = 16;
/** Bytes per second: the guest's memory takes longer than all that happens meanwhile. */
const SLOW = 128 * 1024;
/** What the kernel calls to write a doorbell when a kick eventfd is signalled. */
const IOEVENTFD = "vfio_pci_ioeventfd_handler";
const PAGES_MAPPED = "direct doorbell host-notifier";

/** The last word of the daemon's log on a queue: its mode and its doorbell. */
function wiring(daemon: Program, queue: number): string | undefined {
  const lines = daemon.stderr.text.match(new RegExp(`^.*queue ${queue} .* doorbell \\S+ .*$`, "gm"));
  return lines?.at(-1)?.match(/(direct|relay) doorbell \S+/)?.[0];
}

const bothAre = (daemon: Program, want: string) => [0, 1].every((queue) => wiring(daemon, queue) === want);

async function wired(lab: Lab, name: string, daemon: Program, want: string): Promise<void> {
  await until(`both queues to be ${want}`, () => bothAre(daemon, want));
  lab.check(`${name}: both queues`, true, want);
}

/** That the probe counts: for a front-end that takes no doorbell page the kernel rings at each of its kicks. */
async function kernelRings(lab: Lab, probe: KernelProbe): Promise<void> {
  const guest = await connectGuest({ socketPath: SOCKET, packed: true });
  try {
    const [pair] = guest.pairs;
    const frame = writeFrame(Buffer.alloc(MIN_FRAME), 0, 0, MIN_FRAME);
    for (let sent = 0; sent < FRAMES; sent++) {
      pair!.transmit(frame);
      pair!.tx.flush();
      await until("the frame to be sent", () => pair!.reclaim() > 0);
    }
    const kicks = pair!.rx.kicks + pair!.tx.kicks;
    lab.atLeast("without pages: kicks", kicks, FRAMES);
    lab.equal("without pages: doorbells that the kernel rang", probe.calls, kicks);
  } finally {
    guest.close();
  }
}

/** A guest that pings, and what its pings made the kernel and the serving thread do. */
class Watched {
  private constructor(
    readonly guest: Guest,
    readonly peer: Peer,
    readonly daemon: Program,
    readonly probe: KernelProbe,
    readonly thread: number,
  ) {}

  static async create(guest: Guest, peer: Peer, daemon: Program, probe: KernelProbe): Promise<Watched> {
    const thread = await until("the serving thread to sleep", () => {
      const asleep = sleepingInEpoll(daemon.pid);
      return asleep.length === 1 && asleep[0];
    });
    return new Watched(guest, peer, daemon, probe, thread);
  }

  async ping(): Promise<{ answered: number; rung: number; woken: number }> {
    const woken = () => voluntarySwitches(this.daemon.pid, this.thread);
    const before = { rung: this.probe.calls, woken: woken() };
    const answered = await this.guest.ping(this.peer.address, PINGS);
    return { answered, rung: this.probe.calls - before.rung, woken: woken() - before.woken };
  }
}

const UNDISTURBED = { answered: PINGS, rung: 0, woken: 0 };

/** While QEMU migrates, everything that the device writes is logged, which takes the relay. Nothing moves in the end. */
async function migrateAndCancel(lab: Lab, watched: Watched): Promise<void> {
  const { guest, daemon } = watched;
  await guest.qmp.execute("migrate-set-parameters", { "max-bandwidth": SLOW });
  await guest.qmp.execute("migrate", { uri: "exec:cat > /dev/null" });
  await wired(lab, "while migrating", daemon, "relay doorbell relay");
  const relayed = await watched.ping();
  lab.equal("while migrating: pings answered", relayed.answered, PINGS);
  lab.atLeast("while migrating: wake-ups of the serving thread", relayed.woken, PINGS);
  await guest.qmp.execute("migrate_cancel");
  await until("the migration to be cancelled", async () => {
    const { status } = (await guest.qmp.execute("query-migrate")) as { status: string };
    return status === "cancelled";
  });
}

/**
 * Frames to the guest until the device has its rings back: a packed ring can go back every second lap, and a receive
 * ring only while frames come fast enough to use up what the device holds. They come without waiting for answers.
 */
async function flood(peer: Peer, daemon: Program): Promise<void> {
  const burst = ["ping", "-q", "-n", "-f", "-l", "1000", "-c", "1500", "-w", "20", ADDRESS];
  await until("the rings to go back to the device", async () => {
    await attempt(peer.argv(...burst));
    return bothAre(daemon, PAGES_MAPPED);
  });
}

export default scenario({
  summary:
    "QEMU maps doorbell pages into its guest: no wake-up, no ioeventfd; taken back while rings are relayed",
  usesVdpactl: true,
  extended: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short", packed: true, pagePerVq: true },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    const served = lab.device("served");
    await served.handTo("vfio-pci");
    const daemon = await serve({ device: served, socket: SOCKET });
    const probe = await KernelProbe.on(IOEVENTFD);
    await kernelRings(lab, probe);

    const nic = "page-per-vq=on";
    const guest = await Guest.boot({ name: "guest", socket: SOCKET, mac: served.mac, packed: true, nic });
    await wired(lab, "at first", daemon, PAGES_MAPPED);
    await guest.address(ADDRESS);
    lab.equal("pings answered at first", await guest.ping(peer.address, 2), 2);
    const watched = await Watched.create(guest, peer, daemon, probe);
    lab.equal("pages mapped: pings", await watched.ping(), UNDISTURBED);

    await migrateAndCancel(lab, watched);
    await flood(peer, daemon);
    lab.equal("pages mapped again after the migration: pings", await watched.ping(), UNDISTURBED);

    await guest.qmp.execute("stop");
    await guest.qmp.execute("cont");
    await wired(lab, "after stop and cont", daemon, "relay doorbell relay");
    lab.equal("after stop and cont: pings answered", (await watched.ping()).answered, PINGS);
    await guest.reloadDriver();
    await guest.address(ADDRESS);
    await wired(lab, "after its driver came back", daemon, PAGES_MAPPED);
    lab.equal("pages mapped after its driver came back: pings", await watched.ping(), UNDISTURBED);
    lab.equal("QEMU ends with 0", await guest.quit(), 0);
    lab.equal("vdpactl ends with 0", await daemon.stop(), 0);
  },
});
