import type { LogSettings } from "../cli/log.ts";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { Counters } from "../vdpa/counters.ts";
import type { CommandChannel } from "./command-channel.ts";
import type { ControlledDevice } from "./control/control-operations.ts";
import type { DeviceRequest } from "./device-request.ts";
import type { KeptSocket } from "./kept-socket.ts";
import { type ServingEnd, ServingThreads } from "./serving-threads.ts";
import { StateBoard } from "./state/state-board.ts";
import { TrafficSampler } from "./state/traffic-sampler.ts";
import type { Watched } from "./systemd/watchdog.ts";

/** Before the first new attempt at a device that has failed; each further one waits twice as long, up to the longest. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;

export type ServicePhase = "starting" | "serving" | "failed" | "ended";

export interface DeviceServiceOptions {
  readonly entry: string;
  readonly log: Log;
  readonly logSettings: LogSettings;
  /** Where the service manager listens; undefined without one. */
  readonly managerAddress: string | undefined;
  readonly onReady: (service: DeviceService, where: string, device: string) => void;
  /** A front-end has come or gone. */
  readonly onFrontEnd: (service: DeviceService) => void;
  /** It has failed (`service.failure`). What it returns says whether to try again, where that is possible. */
  readonly onFailed: (service: DeviceService) => boolean;
  /** It is over without a failure. */
  readonly onEnded: (service: DeviceService) => void;
}

/** One device of this process, through failures and new attempts. Runs on the main thread's event loop. */
export class DeviceService implements ControlledDevice {
  readonly counters = new Counters();
  readonly since = performance.now();
  readonly sampler: TrafficSampler = new TrafficSampler(this);
  phase: ServicePhase = "starting";
  /** How front-ends find it, such as `socket=/run/vm1.sock`, once it was served. */
  where = "";
  /** Whether a front-end is connected. */
  connected = false;
  /** Why it is not served, or was not until now. */
  failure: OperatorError | undefined;
  /** How long until the next attempt; undefined when there will be none. */
  retryMs: number | undefined;
  #board = new StateBoard();
  #threads: ServingThreads | undefined;
  #stopping = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextWaitMs = FIRST_RETRY_MS;
  #readyAt = Number.POSITIVE_INFINITY;
  readonly #faultFd = createEventfd();
  private request: DeviceRequest;

  constructor(
    /** As it was asked for; a device that a guest was moved to, and a socket that stays, are not in it. */
    readonly configured: DeviceRequest,
    private readonly options: DeviceServiceOptions,
  ) {
    this.request = configured;
  }

  get name(): string {
    return this.request.name;
  }

  get meeting(): DeviceRequest["meeting"] {
    return this.request.meeting;
  }

  get board(): StateBoard {
    return this.#board;
  }

  /** Whether it is served, or an attempt at that is under way. */
  get isActive(): boolean {
    return this.#threads !== undefined;
  }

  /** What must not hang: its thread, once it serves. While it opens the device, waits there are bounded. */
  get watched(): Watched | undefined {
    return this.phase === "serving" ? this.#threads : undefined;
  }

  get hasEnded(): boolean {
    return this.phase === "ended";
  }

  /** Whether the simulated device was ordered to misbehave, which `switchFaults` ends or brings back. */
  get hasFaults(): boolean {
    return "sim" in this.request.device && Object.keys(this.request.device.switched.faults).length > 0;
  }

  switchFaults(): void {
    signalEventfd(this.#faultFd);
  }

  start(): void {
    const { entry, log, logSettings, managerAddress } = this.options;
    const threads = new ServingThreads(this.request, {
      entry,
      log,
      logSettings,
      counters: this.counters,
      board: this.#board,
      faultFd: this.#faultFd,
      managerAddress,
      onReady: (where, device, kept) => {
        if (threads === this.#threads) this.#ready(where, device, kept);
      },
      onFrontEnd: (connected) => {
        if (threads !== this.#threads) return;
        this.connected = connected;
        this.options.onFrontEnd(this);
      },
    });
    this.#threads = threads;
    void threads.ended.then((end) => this.#settle(end));
  }

  /** Asks the serving thread. @throws OperatorError, its own or that there is none */
  async ask(command: Parameters<CommandChannel["ask"]>[0]): Promise<unknown> {
    if (!this.#threads) throw this.#unserved();
    const result = await this.#threads.channel.ask(command);
    if (command.op === "move") {
      // A new attempt is for where the guest is now.
      this.request = { ...this.request, name: command.bdf, device: { bdf: command.bdf } };
    }
    return result;
  }

  /** Gives the device back; `onEnded` or `onFailed` tells of it. */
  stop(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.retryMs = undefined;
    this.#threads?.stop();
  }

  get keptSocket(): KeptSocket | undefined {
    const { meeting } = this;
    if (meeting.role !== "server" || meeting.inherited === undefined) return undefined;
    return { fd: meeting.inherited, stored: meeting.store === true, path: meeting.path };
  }

  /** Its threads do not end: what others would stumble upon is removed in their place. */
  abandon(): void {
    this.#threads?.removeSocket();
  }

  #ready(where: string, device: string, kept: number | undefined): void {
    this.phase = "serving";
    this.where = where;
    // A new attempt goes on with the socket that stays; one that was taken over for good is closed by then.
    if (this.meeting.role === "server") {
      const { inherited: _taken, ...meeting } = this.meeting;
      this.request = {
        ...this.request,
        meeting: kept === undefined ? meeting : { ...meeting, inherited: kept },
      };
    }
    this.failure = undefined;
    this.#readyAt = performance.now();
    this.options.onReady(this, where, device);
  }

  #settle({ failure, died }: ServingEnd): void {
    this.#threads = undefined;
    this.connected = false;
    // What the old one shows is no longer so, and a thread that died may have left it half written.
    this.#board = new StateBoard();
    if (!failure) {
      this.phase = "ended";
      this.options.onEnded(this);
      return;
    }
    this.phase = "failed";
    this.failure = failure;
    if (performance.now() - this.#readyAt >= LONGEST_RETRY_MS) this.#nextWaitMs = FIRST_RETRY_MS;
    this.#readyAt = Number.POSITIVE_INFINITY;
    // What a dead thread held can not be opened again, an inherited socket is closed by now, and wrong options stay so.
    const possible = !died && !this.#stopping && this.meeting.role !== "fd" && failure.kind !== "usage";
    this.retryMs = possible ? this.#nextWaitMs : undefined;
    if (!this.options.onFailed(this) || this.retryMs === undefined) return;
    this.#nextWaitMs = Math.min(2 * this.#nextWaitMs, LONGEST_RETRY_MS);
    this.#timer = setTimeout(() => this.start(), this.retryMs);
  }

  #unserved(): OperatorError {
    const why = this.failure?.message ?? "its front-end has gone, and no other can come";
    return new OperatorError(`${this.name} is not being served`, { why, kind: "not-ready" });
  }
}
