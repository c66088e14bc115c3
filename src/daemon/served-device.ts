import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { PciFunction } from "../hw/pci-function.ts";
import { connectSim } from "../hw/sim/link.ts";
import { openVfio } from "../hw/vfio/open.ts";
import { openVirtio } from "../hw/virtio/open.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import type { Counters } from "../vdpa/counters.ts";
import { type NetDeviceOptions, VirtioNetDevice } from "../vdpa/net-device.ts";
import { requireTranslatedDma } from "../vdpa/translated-dma.ts";
import type { Target } from "./messages.ts";

const VIRTIO_ID_NET = 1;
/** Bytes from which on mapping a guest's memory is worth a word on its progress. */
const LARGE_GUEST = 4n << 30n;

export interface ServedDeviceOptions
  extends Pick<NetDeviceOptions, "queuePairs" | "featuresMask" | "doorbells" | "datapath"> {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
  /** Serve even where the device's DMA may not be translated by the IOMMU. */
  readonly force: boolean;
  /** Polled while guest memory is mapped: whether to give up. */
  readonly shouldStop: () => boolean;
}

/** An opened device with everything that stands on it, from its PCI function to the vDPA operations. */
export class ServedDevice {
  private constructor(
    readonly fn: PciFunction,
    readonly device: VirtioNetDevice,
    readonly memory: GuestMemory,
    private readonly unwatch: () => void,
  ) {}

  /** @throws OperatorError when it can not be had or can not be served; nothing stays open then */
  static open(target: Target, options: ServedDeviceOptions): ServedDevice {
    const { log, loop, shouldStop } = options;
    const fn = target.kind === "sim" ? connectSim(target.link) : openVfio(target.bdf, { log });
    const undo: (() => void)[] = [() => fn.close()];
    try {
      const transport = openVirtio(fn, log);
      if (transport.deviceType !== VIRTIO_ID_NET) {
        throw new OperatorError(`${fn.name} is not a network device`, {
          why: `its virtio device type is ${transport.deviceType}, only network devices (type 1) can be served`,
          kind: "not-ready",
        });
      }
      if (!options.force) requireTranslatedDma(fn.name, transport.deviceFeatures());
      const memory = new GuestMemory(fn.dma, { log, onProgress: mappingProgress(log), shouldStop });
      const device = new VirtioNetDevice(transport, { ...options, memory });
      undo.push(() => {
        device.close();
        memory.clear();
      });
      return new ServedDevice(fn, device, memory, watchFunction(fn, loop));
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  get name(): string {
    return this.fn.name;
  }

  /** Resets the device, takes guest memory from it and gives it back to the kernel. */
  close(): void {
    const steps = [this.unwatch, () => this.device.close(), () => this.memory.clear(), () => this.fn.close()];
    const errors: unknown[] = [];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
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
function watchFunction(fn: PciFunction, loop: EventLoop): () => void {
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
