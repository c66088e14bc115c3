import { type MessagePort, parentPort } from "node:worker_threads";
import { createLog, createTrace } from "../cli/log.ts";
import { EPOLLIN, EventLoop } from "../hw/ffi/event-loop.ts";
import { isReady, POLLIN } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import type { OperatorError } from "../hw/operator-error.ts";
import { Counters } from "../vdpa/counters.ts";
import { RelayThreads } from "../vdpa/relay-threads/relay-threads.ts";
import { FrontEndServer } from "../vhost-user/listener.ts";
import { CommandInbox } from "./command-inbox.ts";
import { GuestMoves } from "./guest-moves.ts";
import { type DeviceWorkerData, toPlain, type WorkerReport } from "./messages.ts";
import { Pulse } from "./pulse.ts";
import { ServedDevice } from "./served-device.ts";
import { DeviceWatch } from "./state/device-watch.ts";
import { KEPT_SOCKET, ServiceManager } from "./systemd/service-manager.ts";
import { workerCommands } from "./worker-commands.ts";

/**
 * The thread that serves one device. It blocks in the kernel until a front-end, the device or the main thread wants
 * something, and owns everything it works with: what it opens is closed before it reports `stopped`.
 */
export function runDeviceWorker(data: DeviceWorkerData): void {
  const log = createLog(data.log);
  const cleanup: (() => void)[] = [];
  try {
    serve(data, log, cleanup);
  } catch (error) {
    report({ event: "failed", error: toPlain(error) });
  } finally {
    for (const step of cleanup.reverse()) {
      try {
        step();
      } catch (error) {
        log.error(`while stopping: ${toPlain(error).what}`, {
          event: "cleanup_failed",
          error: toPlain(error).what,
        });
      }
    }
    report({ event: "stopped" });
  }
}

function report(message: WorkerReport): void {
  parentPort!.postMessage(message);
}

function serve(data: DeviceWorkerData, log: Log, cleanup: (() => void)[]): void {
  const loop = new EventLoop();
  cleanup.push(() => loop.close());
  loop.add(data.stopFd, EPOLLIN, () => loop.stop());

  const relayThreads = data.relayLinks.length > 0 ? new RelayThreads(data.relayLinks, loop) : undefined;
  cleanup.push(() => relayThreads?.close());

  const counters = new Counters(data.counters);
  const trace = data.trace ? createTrace(data.log) : undefined;
  const watch = new DeviceWatch(data.board);
  const pulse = new Pulse(data.pulse);
  const served = ServedDevice.open(data.target, {
    ...data,
    loop,
    log,
    trace,
    counters,
    onChange: watch.touch,
    mappingTime: watch.mappingTime,
    relayThreads,
    shouldStop: () => {
      pulse.beat();
      return isReady(data.stopFd, POLLIN);
    },
  });
  cleanup.push(() => served.close());

  let fault: OperatorError | undefined;
  const server = new FrontEndServer({
    loop,
    device: served.device,
    log,
    trace,
    counters,
    onChange: watch.touch,
    onRefused: watch.onRefused,
    onConnect: () => report({ event: "front-end", connected: true }),
    onDisconnect: () => report({ event: "front-end", connected: false }),
    onEnd: (error) => {
      fault = error;
      loop.stop();
    },
  });
  cleanup.push(() => server.close());
  const moves = new GuestMoves({ served, server, loop, log });
  cleanup.push(() => moves.close());
  const inbox = new CommandInbox(
    data.commands as MessagePort,
    data.commandFd,
    loop,
    { ...watch.around(workerCommands(server, moves, log)), ping: () => null },
    report,
  );
  cleanup.push(() => inbox.close());
  const { meeting } = data;
  if (meeting.role === "server") {
    server.listen(meeting.path, meeting);
    // Here, where nobody can close the socket meanwhile.
    if (meeting.store) new ServiceManager(data.managerAddress, log).keep(server.listeningFd!, KEPT_SOCKET);
  } else if (meeting.role === "fd") server.listenFd(meeting.fd);
  else server.connect(meeting.path);
  watch.start(loop, log, served, server);
  const where = meeting.role === "fd" ? `fd=${meeting.fd}` : `socket=${meeting.path}`;
  const kept = meeting.role === "server" && meeting.keep ? server.listeningFd : undefined;
  report({ event: "ready", where, device: served.name, kept });
  loop.run();
  if (fault) throw fault;
}
