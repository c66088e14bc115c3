// A migration is cancelled midway. While it is under way the guest is stopped, its driver reloaded, and it is rebooted;
// afterwards its rings return to the device, and the next migration succeeds. The destination always relays, and
// there the same happens to the guest.
import { command } from "./harness/command.ts";
import { EchoStream } from "./harness/echo-stream.ts";
import { Guest, type GuestOptions } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { move, queueLines, type Station } from "./harness/move.ts";
import { Peer } from "./harness/network.ts";
import { describeGaps, Pinger } from "./harness/pinger.ts";
import { scenario } from "./harness/scenario.ts";
import { stuckMigration } from "./harness/stuck-migration.ts";
import { until } from "./harness/until.ts";
import { serve } from "./harness/vdpactl.ts";

const ADDRESS = "10.0.0.2";
const PINGS = 4;
const QUEUES = 2;

class Story {
  constructor(
    readonly lab: Lab,
    readonly peer: Peer,
    readonly packed: boolean,
    readonly rebootsWhile: "logging" | "relay",
  ) {}

  name(what: string): string {
    return `${this.packed ? "packed" : "split"}: ${what}`;
  }

  async answers(when: string): Promise<void> {
    const name = this.name(`pings answered ${when}`);
    this.lab.equal(name, await this.peer.ping(ADDRESS, PINGS), PINGS);
  }

  /** What makes a guest's rings stop and start. */
  async upsAndDowns(guest: Guest, station: Station, when: "logging" | "relay"): Promise<void> {
    const relayed = () => queueLines(station.daemon, "relay").length;
    const check = async (what: string, before: number) => {
      // What the wire brings while a queue is reset is lost, as on any wire.
      await until("the rings to be relayed", () => relayed() - before >= QUEUES);
      await this.answers(`after ${what} (${when})`);
      this.lab.atLeast(this.name(`queues relayed since (${when})`), relayed() - before, QUEUES);
    };
    let before = relayed();
    await guest.qmp.execute("stop");
    await guest.qmp.execute("cont");
    await check("stop and cont", before);
    before = relayed();
    await guest.reloadDriver();
    await guest.address(ADDRESS);
    await check("its driver came back", before);
    if (this.rebootsWhile !== when) return;
    before = relayed();
    await guest.reboot();
    await guest.address(ADDRESS);
    await check("its reboot", before);
  }

  /** Sends frames through both rings until they get to where a fresh device begins. */
  async backToDirect(station: Station, before: number): Promise<void> {
    const direct = () => queueLines(station.daemon, "direct").length - before;
    const began = Date.now();
    // A packed ring gets there every second lap of 1024. A split one does when its 16-bit indices wrap: there large
    // pings, in 8 pieces each, make the many frames. A receive ring needs steady traffic before that point.
    let rounds = 0;
    for (; direct() < QUEUES && rounds < 10; rounds++) {
      if (this.packed) await this.peer.flood(ADDRESS, 4500);
      else await this.peer.flood(ADDRESS, 9000, 11_800);
    }
    this.lab.atLeast(this.name("queues that returned to the device"), direct(), QUEUES);
    this.lab.note(this.name(`after ${rounds} rounds of pings, ${Date.now() - began} ms`));
  }

  async run(): Promise<void> {
    const { lab, peer, packed } = this;
    const layout = packed ? "packed" : "split";
    const station = async (device: string, ...args: string[]): Promise<Station> => {
      const socket = `/tmp/${layout}-${device}.sock`;
      return { socket, daemon: await serve({ device: lab.device(device), socket, args }) };
    };
    const here = await station("here");
    const there = await station("there", "--datapath", "relay");
    const { mac } = lab.device("here");
    const options: GuestOptions = { name: layout, socket: here.socket, mac, packed };
    const source = await Guest.boot(options);
    await source.address(ADDRESS);
    await this.answers("at first");
    lab.equal(this.name("queues relayed at first"), queueLines(here.daemon, "relay").length, 0);

    let direct = 0;
    const status = await stuckMigration(source, async () => {
      lab.equal(
        this.name("queues relayed while it migrates"),
        queueLines(here.daemon, "relay").length,
        QUEUES,
      );
      await this.answers("while it migrates");
      await this.upsAndDowns(source, here, "logging");
      direct = queueLines(here.daemon, "direct").length;
    });
    lab.equal(this.name("the migration that was cancelled"), status, "cancelled");
    await this.answers("after that");
    await this.backToDirect(here, direct);

    const pinger = await Pinger.start(peer, ADDRESS);
    const stream = await EchoStream.start(peer, source);
    const { guest, info, began, ended } = await move(source, options, there);
    lab.equal(this.name("the next migration"), info.status, "completed");
    await pinger.answeredAfter(ended);
    lab.note(this.name(describeGaps([pinger.longestGap(began, ended)])));
    const result = await stream.end();
    lab.equal(
      this.name("checksum of what went there and back meanwhile"),
      result.returned_sha256,
      result.sent_sha256,
    );
    lab.equal(this.name("answers to pings that came twice"), (await pinger.stop()).duplicates, 0);
    await this.upsAndDowns(guest, there, "relay");
    lab.equal(this.name("its QEMU ends with 0"), await guest.quit(), 0);
    for (const { daemon } of [here, there])
      lab.equal(this.name(`${daemon.name} ends with 0`), await daemon.stop(), 0);
  }
}

export default scenario({
  summary:
    "a cancelled migration: stop, reload and reboot meanwhile, back to direct mode, and the next one succeeds",
  usesVdpactl: true,
  extended: true,
  timeoutSeconds: 2400,
  vm: {
    devices: [
      { kind: "nic", name: "here", wire: "wide", packed: true },
      { kind: "nic", name: "there", wire: "wide", packed: true },
      { kind: "nic", name: "peer", wire: "wide" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    for (const name of ["here", "there"]) await lab.device(name).handTo("vfio-pci");
    await new Story(lab, peer, true, "relay").run();
    await new Story(lab, peer, false, "logging").run();
  },
});
