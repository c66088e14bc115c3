import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import { ControlOperations } from "./control/control-operations.ts";
import { ControlServer } from "./control/control-server.ts";
import { runtimeDirectory } from "./control/runtime-directory.ts";
import type { DeviceRequest } from "./device-request.ts";
import { DeviceServices, type DeviceServicesOptions } from "./device-services.ts";
import { type MetricsAddress, type MetricsServer, serveMetrics } from "./metrics/metrics-server.ts";
import { prometheusText } from "./metrics/prometheus-text.ts";
import { Reload } from "./reload.ts";
import { ServiceState } from "./systemd/service-state.ts";
import { Watchdog } from "./systemd/watchdog.ts";

/** What this process serves. */
export interface ServeRequest extends DeviceServicesOptions {
  /** Where the control socket goes; the usual place when undefined. */
  readonly runtimeDirectory: string | undefined;
  /** Where metrics are served; nowhere when undefined. */
  readonly metrics: MetricsAddress | undefined;
  /** After which time the service manager ends a process that says nothing; undefined where it does not watch. */
  readonly watchdogMs: number | undefined;
  /** Reads again what is to be served, at SIGHUP; undefined where there is nothing to read. */
  readonly reread?: (() => Promise<readonly DeviceRequest[]>) | undefined;
  /** Aborted when the operator interrupts. */
  readonly signal: AbortSignal;
}

/**
 * Serves until SIGTERM or an interrupt (then it resolves) or until no device can be served (then it rejects with an
 * OperatorError). As long as there is one, others that fail are tried again.
 * @param onReady called with a line once a socket listens, and of several devices once all do or have failed
 */
export async function serve(request: ServeRequest, log: Log, onReady: (line: string) => void): Promise<void> {
  const { manager, watchdogMs } = request;
  const services = new DeviceServices(request, log, {
    onReady,
    onAllTried: () => {
      state.ready();
      if (watchdogMs !== undefined) watchdog.start(watchdogMs);
    },
    onChange: () => state.changed(),
    onStopping: () => state.stopping(),
  });
  const state = new ServiceState(manager, services.devices);
  const watchdog = new Watchdog(
    () => services.devices.flatMap(({ watched }) => watched ?? []),
    () => manager.tell({ WATCHDOG: 1 }),
  );
  const operations = new ControlOperations(services.devices);
  // Before anything that would have to be undone when the address can not be had.
  const metrics = request.metrics && startMetrics(request.metrics, operations, log);
  const control = await listenForControl(operations, request.runtimeDirectory, log);
  // For whoever tries a front-end: SIGUSR2 ends the ordered misbehaviour and brings it back.
  const switchFaults = () => services.switchFaults();
  const stop = () => services.stop();
  const { reread } = request;
  const reload =
    reread &&
    new Reload({
      reread,
      apply: (devices) => services.apply(devices),
      onBegin: () => state.reloading(),
      onEnd: () => state.reloaded(),
      log,
    });
  const onHangUp = () => void reload?.ask();
  if (reload) process.on("SIGHUP", onHangUp);
  if (services.haveFaults) process.on("SIGUSR2", switchFaults);
  process.once("SIGTERM", stop);
  request.signal.addEventListener("abort", stop, { once: true });
  try {
    await services.run();
    state.stopping();
  } catch (error) {
    state.failed(messageOf(error));
    throw error;
  } finally {
    watchdog.close();
    process.off("SIGUSR2", switchFaults);
    process.off("SIGTERM", stop);
    process.off("SIGHUP", onHangUp);
    request.signal.removeEventListener("abort", stop);
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
  log.info(`metrics at ${metrics.where}`, { event: "metrics_served", where: metrics.where });
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
      { event: "control_socket_missing", error: messageOf(error) },
    );
    return undefined;
  }
}
