import type { MessagePort } from "node:worker_threads";
import { Worker } from "node:worker_threads";
import type { LogSettings } from "../cli/log.ts";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import { createSimLink } from "../hw/sim/link.ts";
import type { Counters } from "../vdpa/counters.ts";
import { createRelayLink } from "../vdpa/relay-threads/link.ts";
import { CommandChannel } from "./command-channel.ts";
import type { DeviceRequest } from "./device-request.ts";
import { LeftSocket } from "./left-socket.ts";
import { fromPlain, type Target, type WorkerData, type WorkerReport } from "./messages.ts";
import { Pulse } from "./pulse.ts";
import type { StateBoard } from "./state/state-board.ts";
import type { Watched } from "./systemd/watchdog.ts";

/** What the threads of a device get from the main thread besides the request. */
export interface ThreadsContext {
  /** The program's entry file, which every worker starts again. */
  readonly entry: string;
  readonly log: Log;
  readonly logSettings: LogSettings;
  readonly counters: Counters;
  readonly board: StateBoard;
  /** Eventfd that switches what the simulated device does wrong. */
  readonly faultFd: number;
  /** Where the service manager listens; undefined without one. */
  readonly managerAddress: string | undefined;
  /** The socket listens. `kept` is its fd where it outlives the threads. */
  readonly onReady: (where: string, device: string, kept: number | undefined) => void;
  readonly onFrontEnd: (connected: boolean) => void;
}

/** How the service of a device ended. */
export interface ServingEnd {
  /** Undefined when it ended as it was told to, or when the only front-end that could come has gone. */
  readonly failure: OperatorError | undefined;
  /** A thread died without giving back what it had, which the process goes on to hold. */
  readonly died: boolean;
}

/** The threads that serve one device, from their start to their end. The main thread's side of them. */
export class ServingThreads implements Watched {
  readonly channel = new CommandChannel();
  /** Settled once the device is given back, or a thread has died. */
  readonly ended: Promise<ServingEnd>;
  readonly #stopFd = createEventfd();
  readonly #pulse = new Pulse();
  readonly #socket: LeftSocket;
  #gone = false;

  constructor(
    private readonly request: DeviceRequest,
    private readonly context: ThreadsContext,
  ) {
    this.#socket = new LeftSocket(request.meeting);
    this.ended = this.#run();
  }

  /** Asks the threads to give everything back and end. */
  stop(): void {
    if (!this.#gone) signalEventfd(this.#stopFd);
  }

  ping(): Promise<unknown> {
    return this.channel.ask({ op: "ping" });
  }

  beats(): number {
    return this.#pulse.beats;
  }

  /** Removes the socket that threads which have died, or do not end, have left. */
  removeSocket(): void {
    this.#socket.remove();
  }

  #run(): Promise<ServingEnd> {
    return new Promise((resolve) => {
      let failure: OperatorError | undefined;
      let stopped = false;
      const died = (what: string, error?: unknown) => {
        const why = error === undefined ? undefined : messageOf(error);
        resolve({ failure: failure ?? new OperatorError(what, { why, cause: error }), died: true });
        this.channel.end(failure ?? new OperatorError(what, { why }));
        this.#socket.remove();
        this.stop();
      };
      const target = this.#startTarget();
      const relayLinks = this.#startRelayThreads(died);
      const worker = this.#startDevice(target, relayLinks);
      worker.on("message", (report: WorkerReport) => {
        if (report.event === "answer") this.channel.settle(report);
        else if (report.event === "front-end") this.context.onFrontEnd(report.connected);
        else if (report.event === "failed") failure = fromPlain(report.error);
        else if (report.event === "ready") {
          this.#socket.note();
          this.context.onReady(report.where, report.device, report.kept);
        } else {
          stopped = true;
          this.channel.end(failure ?? new OperatorError(`${this.request.name} is no longer served`));
          resolve({ failure, died: false });
        }
      });
      worker.on("error", (error) => died("the serving thread died", error));
      worker.on("exit", () => {
        // Before, the thread might still use them.
        this.#gone = true;
        closeFd(this.#stopFd);
        this.channel.close();
        if (!stopped) died("the serving thread ended unexpectedly");
      });
    });
  }

  #spawn(data: WorkerData, transferList: MessagePort[] = []): Worker {
    return new Worker(this.context.entry, { workerData: data, transferList });
  }

  #startTarget(): Target {
    const { device, name } = this.request;
    if ("bdf" in device) return { kind: "pci", bdf: device.bdf };
    const { log, logSettings, faultFd } = this.context;
    const link = createSimLink();
    const faultSwitch = { ...device.switched, fd: faultFd };
    const sim = this.#spawn({ role: "sim", link, options: device.sim, faultSwitch, log: logSettings });
    sim.on("error", (error) =>
      log.error(`the simulated device died: ${messageOf(error)}`, {
        event: "sim_died",
        error: messageOf(error),
      }),
    );
    return { kind: "sim", link, name };
  }

  /** What goes wrong while they work, the serving thread reports in good order. */
  #startRelayThreads(died: (what: string, error: unknown) => void) {
    const { counters, logSettings } = this.context;
    return Array.from({ length: this.request.relayThreads }, (_, number) => {
      const link = createRelayLink();
      const relay = this.#spawn({
        role: "relay",
        number,
        link,
        counters: counters.memory,
        log: logSettings,
      });
      relay.on("error", (error) => died(`relay thread ${number} died`, error));
      return link;
    });
  }

  #startDevice(target: Target, relayLinks: ReturnType<typeof createRelayLink>[]): Worker {
    const { meeting, queuePairs, featuresMask, doorbells, datapath, force, trace } = this.request;
    const { counters, board, managerAddress, logSettings } = this.context;
    return this.#spawn(
      {
        role: "device",
        target,
        meeting,
        stopFd: this.#stopFd,
        commandFd: this.channel.fd,
        commands: this.channel.remotePort,
        queuePairs,
        featuresMask,
        doorbells,
        datapath,
        relayLinks,
        force,
        trace,
        counters: counters.memory,
        board: board.memory,
        pulse: this.#pulse.memory,
        managerAddress,
        log: logSettings,
      },
      [this.channel.remotePort],
    );
  }
}
