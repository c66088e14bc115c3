// The kernel is the datapath: while a guest's frames pass, the serving thread sleeps. With the fallback it does not.
import { command } from "./harness/command.ts";
import { sleepingInEpoll, voluntarySwitches } from "./harness/footprint.ts";
import { Guest } from "./harness/guest.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import type { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { until } from "./harness/until.ts";
import { serve, vdpactlJson } from "./harness/vdpactl.ts";

const PINGS = 20;
const ADDRESS = "10.0.0.2";

/** The guest's count of interrupts of its NIC's queues. */
async function interrupts(guest: Guest): Promise<number> {
  const lines = (await guest.run("cat /proc/interrupts"))
    .split("\n")
    .filter((line) => /virtio\d+-(in|out)put/.test(line));
  return lines.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[1]), 0);
}

interface Stats {
  queues: Array<{ type: string; counters: { kicks_relayed: number } | null }>;
}

/** Kicks that vdpactl passed on, of the transmit and the receive queue together, by its statistics. */
async function kicksRelayed(): Promise<number> {
  const [device] = (await vdpactlJson("stats")) as Stats[];
  const queues = device?.queues.filter(({ type }) => type !== "control") ?? [];
  if (queues.length === 0) throw new Error("stats tells of no queue");
  return queues.reduce((sum, { counters }) => sum + (counters?.kicks_relayed ?? Number.NaN), 0);
}

/** The one thread that serves; it sleeps when nothing is to do. */
async function servingThread(lab: Lab, name: string, daemon: Program): Promise<number> {
  const thread = await until("the serving thread to sleep", () => sleepingInEpoll(daemon.pid)[0]);
  lab.equal(`${name}: threads asleep in epoll_wait`, sleepingInEpoll(daemon.pid).length, 1);
  return thread;
}

interface Case {
  name: string;
  args: string[];
  check(switches: number, kicks: number): void;
}

async function traffic(lab: Lab, peer: Peer, { name, args, check }: Case): Promise<void> {
  const socket = `/tmp/${name}.sock`;
  const daemon = await serve({ device: lab.device("served"), socket, args });
  const guest = await Guest.boot({ name: `guest-${name}`, socket, mac: lab.device("served").mac });
  await guest.address(ADDRESS);
  lab.equal(`${name}: pings answered before`, await guest.ping(peer.address, 2), 2);
  const thread = await servingThread(lab, name, daemon);
  const kicks = await kicksRelayed();
  const before = { switches: voluntarySwitches(daemon.pid, thread), interrupts: await interrupts(guest) };
  lab.equal(`${name}: pings answered`, await guest.ping(peer.address, PINGS), PINGS);
  const after = { switches: voluntarySwitches(daemon.pid, thread), interrupts: await interrupts(guest) };
  check(after.switches - before.switches, (await kicksRelayed()) - kicks);
  lab.atLeast(`${name}: interrupts that reached the guest`, after.interrupts - before.interrupts, PINGS);
  lab.equal(`${name}: QEMU ends with 0`, await guest.quit(), 0);
  lab.equal(`${name}: vdpactl ends with 0`, await daemon.stop(), 0);
}

export default scenario({
  summary:
    "during traffic the serving thread sleeps (ioeventfd); with relayed doorbells it wakes for each kick",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "served", wire: "short" },
      { kind: "nic", name: "peer", wire: "short" },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const peer = await Peer.create("peer", lab.device("peer"), "10.0.0.1");
    await lab.device("served").handTo("vfio-pci");
    await traffic(lab, peer, {
      name: "direct",
      args: [],
      check: (switches, kicks) => {
        lab.equal("direct: wake-ups of the serving thread", switches, 0);
        lab.equal("direct: kicks counted", kicks, 0);
      },
    });
    await traffic(lab, peer, {
      name: "relayed",
      args: ["--doorbell", "relay"],
      check: (switches, kicks) => {
        lab.atLeast("relayed: wake-ups of the serving thread", switches, PINGS);
        lab.atLeast("relayed: kicks counted", kicks, PINGS);
      },
    });
  },
});
