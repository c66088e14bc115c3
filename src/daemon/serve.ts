import { rmSync } from "node:fs";
import { type MessagePort, Worker } from "node:worker_threads";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { FaultSwitch } from "../hw/sim/fault-switch.ts";
import { createSimLink } from "../hw/sim/link.ts";
import type { SimOptions } from "../hw/sim/sim-options.ts";
import { Counters } from "../vdpa/counters.ts";
import { createRelayLink } from "../vdpa/relay-threads/link.ts";
import { CommandChannel } from "./command-channel.ts";
import { ControlOperations } from "./control/control-operations.ts";
import { ControlServer } from "./control/control-server.ts";
import { runtimeDirectory } from "./control/runtime-directory.ts";
import {
  type DeviceWorkerData,
  fromPlain,
  type Target,
  type WorkerData,
  type WorkerReport,
} from "./messages.ts";
import { type MetricsAddress, type MetricsServer, serveMetrics } from "./metrics/metrics-server.ts";
import { prometheusText } from "./metrics/prometheus-text.ts";
import { StateBoard } from "./state/state-board.ts";
import { TrafficSampler } from "./state/traffic-sampler.ts";

/** What to serve, to whom and how. */
export interface ServeRequest
  extends Pick<
    DeviceWorkerData,
    "meeting" | "queuePairs" | "featuresMask" | "doorbells" | "datapath" | "force"
  > {
  /** A PCI device by its full BDF, or the simulated device. */
  readonly device:
    | { readonly bdf: string }
    | { readonly sim: SimOptions; readonly switched: Omit<FaultSwitch, "fd"> };
  /** Threads that move the entries of relayed rings; with 0 the device's thread does. */
  readonly relayThreads: number;
  readonly logSettings: DeviceWorkerData["log"];
  /** Where the control socket goes; the usual place when undefined. */
  readonly runtimeDirectory: string | undefined;
  /** Where metrics are served; nowhere when undefined. */
  readonly metrics: MetricsAddress | undefined;
  /** The program's entry file, which every worker starts again. */
  readonly entry: string;
  /** Aborted when the operator interrupts. */
  readonly signal: AbortSignal;
}

/** How long a stop may take before the process ends all the same; the kernel then frees and resets the device. */
const STOP_LIMIT_MS = 900;

/**
 * Serves until SIGTERM or an interrupt (then it resolves) or until the device can not be served (then it rejects with an
 * OperatorError).
 * @param onReady called once the socket listens
 */
export async function serve(request: ServeRequest, log: Log, onReady: (line: string) => void): Promise<void> {
  const { meeting, queuePairs, featuresMask, doorbells, datapath, force } = request;
  const stopFd = createEventfd();
  const counters = new Counters();
  const board = new StateBoard();
  const spawn = (data: WorkerData, transferList: MessagePort[] = []) =>
    new Worker(request.entry, { workerData: data, transferList });
  const channel = new CommandChannel();

  const name = "bdf" in request.device ? request.device.bdf : "sim";
  const shown = { name, meeting, board, counters, since: performance.now() };
  const sampler = new TrafficSampler(shown);
  const operations = new ControlOperations([{ ...shown, sampler, channel }]);
  // Before anything that would have to be undone when the address can not be had.
  const metrics = request.metrics && startMetrics(request.metrics, operations, log);
  const control = await listenForControl(operations, request.runtimeDirectory, log);
  try {
    let target: Target;
    if ("bdf" in request.device) target = { kind: "pci", bdf: request.device.bdf };
    else {
      const link = createSimLink();
      const { sim: options, switched } = request.device;
      const faultSwitch = { ...switched, fd: createEventfd() };
      // For whoever tries a front-end: SIGUSR2 ends the ordered misbehaviour and brings it back.
      if (Object.keys(switched.faults).length > 0) process.on("SIGUSR2", () => signalEventfd(faultSwitch.fd));
      const sim = spawn({ role: "sim", link, options, faultSwitch, log: request.logSettings });
      sim.on("error", (error) => log.error(`the simulated device died: ${messageOf(error)}`));
      target = { kind: "sim", link };
    }

    const relayLinks = Array.from({ length: request.relayThreads }, () => createRelayLink());
    const data: DeviceWorkerData = {
      role: "device",
      target,
      meeting,
      stopFd,
      commandFd: channel.fd,
      commands: channel.remotePort,
      queuePairs,
      featuresMask,
      doorbells,
      datapath,
      relayLinks,
      force,
      counters: counters.memory,
      board: board.memory,
      log: request.logSettings,
    };
    await untilStopped(request, log, { spawn, data, channel, onReady });
  } finally {
    control?.close();
    metrics?.close();
  }
}

function startMetrics(address: MetricsAddress, operations: ControlOperations, log: Log): MetricsServer {
  const metrics = serveMetrics(address, () => {
    operations.keepSampling(true);
    return prometheusText(operations.states());
  });
  // What is scraped every other minute is counted all the time.
  operations.keepSampling(true);
  log.info(`metrics at ${metrics.where}`);
  return metrics;
}

/** A daemon that can not be asked serves all the same. */
async function listenForControl(
  operations: ControlOperations,
  directory: string | undefined,
  log: Log,
): Promise<ControlServer | undefined> {
  try {
    return await ControlServer.listen({
      directory: runtimeDirectory(directory),
      log,
      carryOut: (request) => operations.carryOut(request),
    });
  } catch (error) {
    log.warn(
      `without a control socket, so that stats and migrate do not reach this process: ${messageOf(error)}`,
    );
    return undefined;
  }
}

interface Thread {
  readonly spawn: (data: WorkerData, transferList?: MessagePort[]) => Worker;
  readonly data: DeviceWorkerData;
  readonly channel: CommandChannel;
  readonly onReady: (line: string) => void;
}

/** Starts the serving thread and resolves when it has stopped. */
function untilStopped(
  request: ServeRequest,
  log: Log,
  { spawn, data, channel, onReady }: Thread,
): Promise<void> {
  const { meeting, stopFd } = data;
  return new Promise<void>((resolve, reject) => {
    for (const [number, link] of data.relayLinks.entries()) {
      const relay = spawn({
        role: "relay",
        number,
        link,
        counters: data.counters,
        log: request.logSettings,
      });
      // What goes wrong while it works, the serving thread reports in good order.
      relay.on("error", (error) =>
        reject(new OperatorError(`relay thread ${number} died`, { why: messageOf(error), cause: error })),
      );
    }
    const worker = spawn(data, [channel.remotePort]);
    const stop = () => {
      signalEventfd(stopFd);
      setTimeout(() => {
        log.warn(`the device did not stop within ${STOP_LIMIT_MS} ms; the kernel takes it from here`);
        if (meeting.role === "server") rmSync(meeting.path, { force: true });
        resolve();
      }, STOP_LIMIT_MS).unref();
    };
    process.once("SIGTERM", stop);
    request.signal.addEventListener("abort", stop, { once: true });
    let failure: OperatorError | undefined;
    worker.on("message", (report: WorkerReport) => {
      if (report.event === "ready") onReady(`READY ${report.where} device=${report.device}`);
      else if (report.event === "answer") channel.settle(report);
      else if (report.event === "failed") failure = fromPlain(report.error);
      else if (failure) reject(failure);
      else resolve();
    });
    worker.on("error", (error) =>
      reject(new OperatorError("the serving thread died", { why: messageOf(error), cause: error })),
    );
    worker.on("exit", () => reject(failure ?? new OperatorError("the serving thread ended unexpectedly")));
  });
}
