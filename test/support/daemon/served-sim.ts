import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type MessagePort, Worker } from "node:worker_threads";
import { CommandChannel } from "../../../src/daemon/command-channel.ts";
import {
  type DeviceWorkerData,
  fromPlain,
  type RelayWorkerData,
  type WorkerReport,
} from "../../../src/daemon/messages.ts";
import { Pulse } from "../../../src/daemon/pulse.ts";
import { StateBoard } from "../../../src/daemon/state/state-board.ts";
import { createEventfd, signalEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { createSimLink, type SimLink } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { Counters } from "../../../src/vdpa/counters.ts";
import type { DeviceMove } from "../../../src/vdpa/device-move.ts";
import { createRelayLink } from "../../../src/vdpa/relay-threads/link.ts";
import type { DatapathPolicy } from "../../../src/vdpa/ring.ts";

const SIM = new URL("../virtio-driver/sim-worker.ts", import.meta.url);
const ENTRY = new URL("../../../src/daemon/worker-entry.ts", import.meta.url);

/** A thread that serves a simulated device on a socket, with the main thread's end of its command channel. */
export class ServedSim {
  readonly directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
  readonly socketPath = join(this.directory, "vhost.sock");
  readonly channel = new CommandChannel();
  readonly #stopFd = createEventfd();
  readonly #threads: Promise<void>[] = [];

  private constructor() {}

  /** Resolves once the socket listens. */
  static async start(
    sim: SimOptions = {},
    datapath: DatapathPolicy = "auto",
    relayThreads = 0,
  ): Promise<ServedSim> {
    const served = new ServedSim();
    await served.#start(served.#spawnSim(sim), datapath, relayThreads);
    return served;
  }

  /** Moves the guest to another simulated device of this name. */
  move(name: string, sim: SimOptions = {}): Promise<DeviceMove> {
    const link = this.#spawnSim(sim);
    return this.channel.ask({ op: "move", bdf: name, link }) as Promise<DeviceMove>;
  }

  hold(relay: boolean): Promise<unknown> {
    return this.channel.ask({ op: "hold", relay });
  }

  /** Asks the thread to end, without waiting. */
  interrupt(): void {
    signalEventfd(this.#stopFd);
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    this.interrupt();
    await Promise.all(this.#threads);
    closeFd(this.#stopFd);
    closeFd(this.channel.fd);
    rmSync(this.directory, { recursive: true, force: true });
  }

  #spawnSim(options: SimOptions): SimLink {
    const link = createSimLink();
    this.#threads.push(ended(new Worker(SIM, { workerData: { role: "sim", link, options } })));
    return link;
  }

  #start(link: SimLink, datapath: DatapathPolicy, relayThreads: number): Promise<void> {
    const { channel } = this;
    const relayLinks = Array.from({ length: relayThreads }, () => createRelayLink());
    const counters = new Counters().memory;
    const log = { level: "quiet", format: "text", color: false, journald: false } as const;
    for (const [number, relayLink] of relayLinks.entries()) {
      const workerData: RelayWorkerData = { role: "relay", number, link: relayLink, counters, log };
      this.#threads.push(ended(new Worker(ENTRY, { workerData })));
    }
    const data: DeviceWorkerData = {
      role: "device",
      target: { kind: "sim", link, name: "one" },
      meeting: { role: "server", path: this.socketPath },
      stopFd: this.#stopFd,
      commandFd: channel.fd,
      commands: channel.remotePort,
      queuePairs: undefined,
      featuresMask: ~0n,
      doorbells: "auto",
      datapath,
      relayLinks,
      force: true,
      trace: false,
      counters,
      board: new StateBoard().memory,
      pulse: new Pulse().memory,
      managerAddress: undefined,
      log,
    };
    const transferList = [channel.remotePort as MessagePort];
    const worker = new Worker(ENTRY, { workerData: data, transferList });
    this.#threads.push(ended(worker));
    return new Promise((resolve, reject) => {
      worker.on("message", (report: WorkerReport) => {
        if (report.event === "ready") resolve();
        else if (report.event === "answer") channel.settle(report);
        else if (report.event === "failed") reject(fromPlain(report.error));
      });
      worker.on("error", reject);
    });
  }
}

const ended = (worker: Worker): Promise<void> =>
  new Promise((resolve) => worker.once("exit", () => resolve()));
