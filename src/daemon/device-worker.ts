import { parentPort } from "node:worker_threads";
import { createLog } from "../cli/log.ts";
import { EPOLLIN, EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd, isReady, POLLIN } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { PciFunction } from "../hw/pci-function.ts";
import { connectSim } from "../hw/sim/link.ts";
import { openVfio } from "../hw/vfio/open.ts";
import { openVirtio } from "../hw/virtio/open.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { Counters } from "../vdpa/counters.ts";
import { VirtioNetDevice } from "../vdpa/net-device.ts";
import { requireTranslatedDma } from "../vdpa/translated-dma.ts";
import { FrontEndServer } from "../vhost-user/listener.ts";
import { type DeviceWorkerData, type Target, toPlain, type WorkerReport } from "./messages.ts";

const VIRTIO_ID_NET = 1;
/** Bytes from which on mapping a guest's memory is worth a word on its progress. */
const LARGE_GUEST = 4n << 30n;

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
        log.error(`while stopping: ${toPlain(error).what}`);
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

  const fn = openTarget(data.target, log);
  cleanup.push(() => fn.close());
  const transport = openVirtio(fn, log);
  if (transport.deviceType !== VIRTIO_ID_NET) {
    throw new OperatorError(`${fn.name} is not a network device`, {
      why: `its virtio device type is ${transport.deviceType}, only network devices (type 1) can be served`,
      kind: "not-ready",
    });
  }
  if (!data.force) requireTranslatedDma(fn.name, transport.deviceFeatures());

  const counters = new Counters(data.counters);
  const memory = new GuestMemory(fn.dma, {
    log,
    onProgress: mappingProgress(log),
    shouldStop: () => isReady(data.stopFd, POLLIN),
  });
  const device = new VirtioNetDevice(transport, {
    loop,
    log,
    counters,
    memory,
    queuePairs: data.queuePairs,
    featuresMask: data.featuresMask,
    doorbells: data.doorbells,
    datapath: data.datapath,
  });
  cleanup.push(() => {
    device.close();
    memory.clear();
  });
  cleanup.push(watchDevice(fn, loop));

  const server = new FrontEndServer({ loop, device, log, counters, onEnd: () => loop.stop() });
  cleanup.push(() => server.close());
  const { meeting } = data;
  if (meeting.role === "server") server.listen(meeting.path, meeting);
  else if (meeting.role === "fd") server.listenFd(meeting.fd);
  else server.connect(meeting.path);
  const where = meeting.role === "fd" ? `fd=${meeting.fd}` : `socket=${meeting.path}`;
  report({ event: "ready", where, device: fn.name });
  loop.run();
}

function openTarget(target: Target, log: Log): PciFunction {
  return target.kind === "sim" ? connectSim(target.link) : openVfio(target.bdf, { log });
}

/** Mapping pins the guest's memory page by page, which takes seconds for a large guest: say how far it is. */
function mappingProgress(log: Log): (doneBytes: bigint, totalBytes: bigint) => void {
  const gib = (bytes: bigint) => (Number(bytes) / 2 ** 30).toFixed(1);
  return (done, total) => {
    if (total > LARGE_GUEST && done > 0n)
      log.info(`mapped ${gib(done)} of ${gib(total)} GiB of guest memory`);
  };
}

/** Ends the service when the device broke or the kernel wants it back; it can not be kept in either case. */
function watchDevice(fn: PciFunction, loop: EventLoop): () => void {
  const fds: number[] = [];
  const reasons = {
    error: "reported an unrecoverable PCI error",
    release: "was asked back by the kernel (it is being unbound or removed)",
  } as const;
  for (const event of ["error", "release"] as const) {
    const fd = createEventfd();
    if (!fn.watch(event, fd)) {
      closeFd(fd);
      continue;
    }
    fds.push(fd);
    loop.add(fd, EPOLLIN, () => {
      throw new OperatorError(`${fn.name} ${reasons[event]}`);
    });
  }
  return () => {
    for (const fd of fds) {
      loop.remove(fd);
      closeFd(fd);
    }
  };
}
