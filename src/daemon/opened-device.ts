import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace, PciFunction } from "../hw/pci-function.ts";
import { connectSim } from "../hw/sim/link.ts";
import type { Trace } from "../hw/trace.ts";
import { openVfio } from "../hw/vfio/open.ts";
import { openVirtio } from "../hw/virtio/open.ts";
import { traceFunction } from "../hw/virtio/trace/trace-function.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { Counters } from "../vdpa/counters.ts";
import { requireInterrupts } from "../vdpa/interrupts.ts";
import { type NetDeviceOptions, VirtioNetDevice } from "../vdpa/net-device.ts";
import { requireTranslatedDma } from "../vdpa/translated-dma.ts";
import type { Target } from "./messages.ts";

const VIRTIO_ID_NET = 1;

export interface OpenedDeviceOptions
  extends Pick<
    NetDeviceOptions,
    "queuePairs" | "featuresMask" | "doorbells" | "datapath" | "onChange" | "relayThreads"
  > {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
  /** Is told of register writes; undefined where nobody wants to know. */
  readonly trace?: Trace | undefined;
  /** Serve even where the device's DMA may not be translated by the IOMMU. */
  readonly force: boolean;
}

/** An opened device, from its PCI function to the vDPA operations. The guest's memory is not its own. */
export class OpenedDevice {
  private constructor(
    readonly fn: PciFunction,
    readonly device: VirtioNetDevice,
    private readonly unwatch: () => void,
  ) {}

  /**
   * @param memoryOn the guest's memory, given the address space of the device that was opened
   * @throws OperatorError when the device can not be had or can not be served; nothing stays open then
   */
  static open(
    target: Target,
    options: OpenedDeviceOptions,
    memoryOn: (dma: DmaSpace) => GuestMemory,
  ): OpenedDevice {
    const { log, loop } = options;
    const { trace } = options;
    const bare = target.kind === "sim" ? connectSim(target.link, target.name) : openVfio(target.bdf, { log });
    const undo: (() => void)[] = [() => bare.close()];
    try {
      const fn = trace ? traceFunction(bare, trace) : bare;
      const transport = openVirtio(fn, log);
      if (transport.deviceType !== VIRTIO_ID_NET) {
        throw new OperatorError(`${fn.name} is not a network device`, {
          why: `its virtio device type is ${transport.deviceType}, only network devices (type 1) can be served`,
          remedy: "vdpactl probe lists the devices",
          kind: "not-ready",
        });
      }
      requireInterrupts(fn);
      if (!options.force) requireTranslatedDma(fn.name, transport.deviceFeatures());
      const device = new VirtioNetDevice(transport, { ...options, memory: memoryOn(fn.dma) });
      undo.push(() => device.close());
      return new OpenedDevice(fn, device, watchFunction(fn, loop));
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  get name(): string {
    return this.fn.name;
  }

  /** Resets the device. Guest memory is to be taken from it then, before `close`. */
  stop(): void {
    this.unwatch();
    this.device.close();
  }

  /** Gives the device back to the kernel. */
  close(): void {
    this.fn.close();
  }
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
