import type { Log } from "../hw/log.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import type { MemoryCopy } from "../memory/memory-copy.ts";
import { type MappingTime, TimedDma } from "../memory/timed-dma.ts";
import type { VirtioNetDevice } from "../vdpa/net-device.ts";
import type { Target } from "./messages.ts";
import { OpenedDevice, type OpenedDeviceOptions } from "./opened-device.ts";

/** Bytes from which on mapping a guest's memory is worth a word on its progress. */
const LARGE_GUEST = 4n << 30n;

export interface ServedDeviceOptions extends OpenedDeviceOptions {
  /** Adds up what mapping guest memory for DMA takes. */
  readonly mappingTime: MappingTime;
  /** Polled while guest memory is mapped: whether to give up. */
  readonly shouldStop: () => boolean;
}

/** The device that is served, and the guest's memory, which stays when the guest moves to another device. */
export class ServedDevice {
  private constructor(
    private opened: OpenedDevice,
    readonly memory: GuestMemory,
    readonly options: ServedDeviceOptions,
  ) {}

  /** @throws OperatorError when it can not be had or can not be served; nothing stays open then */
  static open(target: Target, options: ServedDeviceOptions): ServedDevice {
    const { log, shouldStop, mappingTime } = options;
    let memory: GuestMemory | undefined;
    const opened = OpenedDevice.open(target, options, (dma) => {
      const timed = new TimedDma(dma, mappingTime);
      memory = new GuestMemory(timed, { log, onProgress: mappingProgress(log), shouldStop });
      return memory;
    });
    return new ServedDevice(opened, memory!, options);
  }

  get name(): string {
    return this.opened.name;
  }

  get device(): VirtioNetDevice {
    return this.opened.device;
  }

  /** Opens another device for the same guest. Its memory is not mapped there yet. */
  openOther(target: Target): OpenedDevice {
    return OpenedDevice.open(target, this.options, () => this.memory);
  }

  /** Begins to map the guest's memory for a device that was opened so. */
  copyMemoryTo(other: OpenedDevice): MemoryCopy {
    return this.memory.copyFor(new TimedDma(other.fn.dma, this.options.mappingTime));
  }

  /** Serves another device, which has the guest's memory and its rings; the one before is given back. */
  replaceBy(other: OpenedDevice): void {
    const before = this.opened;
    this.opened = other;
    allOf([() => before.stop(), () => before.close()]);
  }

  /** Resets the device, takes guest memory from it and gives it back to the kernel. */
  close(): void {
    allOf([() => this.opened.stop(), () => this.memory.clear(), () => this.opened.close()]);
  }
}

/** Takes each step, whatever becomes of the others; throws the first error. */
function allOf(steps: readonly (() => void)[]): void {
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

/** Mapping pins the guest's memory page by page, which takes seconds for a large guest: say how far it is. */
function mappingProgress(log: Log): (doneBytes: bigint, totalBytes: bigint) => void {
  const gib = (bytes: bigint) => (Number(bytes) / 2 ** 30).toFixed(1);
  return (done, total) => {
    if (total > LARGE_GUEST && done > 0n)
      log.info(`mapped ${gib(done)} of ${gib(total)} GiB of guest memory`, {
        event: "memory_mapping",
        done_bytes: Number(done),
        total_bytes: Number(total),
      });
  };
}
