import { MailboxClient } from "../mailbox.ts";
import type {
  DmaMemory,
  DmaSpace,
  Doorbell,
  IovaRange,
  MappablePage,
  PciFunction,
  RegisterWidth,
} from "../pci-function.ts";
import { queueOfDoorbell, regionSize, VIRTIO_BAR } from "./bar-layout.ts";
import { SimCounters, type SimCounts } from "./counters.ts";
import { countersOf, type Op, PROTOCOL, type SimLink } from "./mailbox.ts";
import { PAGE_SIZE, type SimConfig, type SimFaults } from "./sim-options.ts";

export { createSimLink, type SimLink } from "./mailbox.ts";

const CONFIG_COMMAND = 4;
const MEMORY_AND_BUS_MASTER = 6;

/** The simulated device as a PCI function, with what only a simulated one can do. */
export interface SimFunction extends PciFunction {
  /** What the device has done so far; asking does not disturb it. */
  counters(): SimCounts;
  /** Turns misbehaviour on or off. */
  inject(faults: SimFaults): void;
}

type Mailbox = MailboxClient<Op>;

/**
 * Connects to the device at the other end of a link, once, in the thread that will drive it. Waits up to 10 s for it
 * to start; throws OperatorError when it does not. Every call blocks for an answer of the device's thread, except
 * doorbells with the right value, which are posted.
 */
export function connectSim(link: SimLink, name = "sim"): SimFunction {
  const mailbox = new MailboxClient(link, PROTOCOL);
  const fn = new ConnectedSim(name, mailbox, mailbox.call("describe").data as SimConfig, link);
  // As VFIO leaves a device that was opened: decoding memory and able to do DMA.
  fn.write(7, CONFIG_COMMAND, 2, MEMORY_AND_BUS_MASTER);
  return fn;
}

class ConnectedSim implements SimFunction {
  readonly dma: DmaSpace;
  readonly msixVectors: number;
  readonly vfioFds = undefined;
  readonly #mailbox: Mailbox;
  readonly #config: SimConfig;
  readonly #counters: SimCounters;
  #closed = false;

  constructor(
    readonly name: string,
    mailbox: Mailbox,
    config: SimConfig,
    link: SimLink,
  ) {
    this.#mailbox = mailbox;
    this.#config = config;
    this.msixVectors = config.msixVectors;
    this.dma = new SimDmaSpace(mailbox, config.usable);
    const { buffer, offset } = countersOf(link);
    this.#counters = new SimCounters(buffer, offset);
  }

  regionSize(region: number): number {
    return regionSize(this.#config, region);
  }

  isIoPort(_region: number): boolean {
    return false;
  }

  read(region: number, offset: number, width: RegisterWidth): number {
    return this.#mailbox.call("read", { numbers: [region, offset, width] }).number;
  }

  write(region: number, offset: number, width: RegisterWidth, value: number): void {
    const queue = region === VIRTIO_BAR && width === 2 ? queueOfDoorbell(this.#config, offset) : undefined;
    if (queue !== undefined && queue === value) this.#mailbox.post(queue);
    else this.#mailbox.call("write", { numbers: [region, offset, width, value] });
  }

  enableMsix(count: number): void {
    this.#mailbox.call("enableMsix", { numbers: [count] });
  }

  setVector(vector: number, eventfd: number): void {
    this.#mailbox.call("setVector", { numbers: [vector, eventfd] });
  }

  disableMsix(): void {
    this.#mailbox.call("disableMsix");
  }

  watch(event: "error" | "release", eventfd: number): boolean {
    if (event === "error") return false;
    this.#mailbox.call("watchRelease", { numbers: [eventfd] });
    return true;
  }

  bindDoorbell(doorbell: Doorbell, eventfd: number): void {
    this.#mailbox.call("bindDoorbell", { numbers: [eventfd], data: doorbell });
  }

  unbindDoorbell(doorbell: Doorbell): void {
    this.#mailbox.call("unbindDoorbell", { data: doorbell });
  }

  doorbellPage(_doorbell: Doorbell): MappablePage | undefined {
    return undefined;
  }

  reset(): void {
    this.#mailbox.call("reset");
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#mailbox.call("close");
    } finally {
      this.#mailbox.close();
    }
  }

  counters(): SimCounts {
    return this.#counters.read();
  }

  inject(faults: SimFaults): void {
    this.#mailbox.call("inject", { data: faults });
  }
}

class SimDmaSpace implements DmaSpace {
  readonly pageSize = PAGE_SIZE;

  constructor(
    readonly mailbox: Mailbox,
    readonly usable: readonly IovaRange[],
  ) {}

  map(iova: bigint, { hva, size, stable }: DmaMemory): void {
    this.mailbox.call("map", { big: iova, numbers: [hva, size, stable ? 1 : 0] });
  }

  unmap(iova: bigint, size: number): void {
    this.mailbox.call("unmap", { big: iova, numbers: [size] });
  }
}
