import {
  CONFIG_REGION,
  type DmaSpace,
  type Doorbell,
  type MappablePage,
  type PciFunction,
  type RegisterWidth,
} from "../../pci-function.ts";
import { hex, type Trace } from "../../trace.ts";
import { type NamedWrite, type RegisterMap, writeText } from "./register-map.ts";

/** A function that tells of each register write, and of what is asked of the kernel for it, before it is done. */
export class TracedFunction implements PciFunction {
  /** @param map undefined where the function's registers are not known: writes go by their places then */
  constructor(
    private readonly fn: PciFunction,
    readonly trace: Trace,
    private readonly map: RegisterMap | undefined,
  ) {}

  get name(): string {
    return this.fn.name;
  }

  get dma(): DmaSpace {
    return this.fn.dma;
  }

  get msixVectors(): number {
    return this.fn.msixVectors;
  }

  get vfioFds(): PciFunction["vfioFds"] {
    return this.fn.vfioFds;
  }

  regionSize(region: number): number {
    return this.fn.regionSize(region);
  }

  isIoPort(region: number): boolean {
    return this.fn.isIoPort(region);
  }

  read(region: number, offset: number, width: RegisterWidth): number {
    return this.fn.read(region, offset, width);
  }

  write(region: number, offset: number, width: RegisterWidth, value: number): void {
    const write = this.#named(region, offset, value);
    const { register, queue, meaning } = write;
    this.trace(`register ${writeText(write)}`, {
      event: "register_write",
      register,
      value,
      queue,
      ...meaning,
    });
    this.fn.write(region, offset, width, value);
  }

  enableMsix(count: number): void {
    this.#call("enable_msix", `${count} MSI-X vectors`, { count });
    this.fn.enableMsix(count);
  }

  setVector(vector: number, eventfd: number): void {
    this.#call("set_vector", `vector ${vector} ${target(eventfd)}`, { vector, eventfd });
    this.fn.setVector(vector, eventfd);
  }

  disableMsix(): void {
    this.#call("disable_msix", "no MSI-X vectors", {});
    this.fn.disableMsix();
  }

  watch(event: "error" | "release", eventfd: number): boolean {
    return this.fn.watch(event, eventfd);
  }

  bindDoorbell(doorbell: Doorbell, eventfd: number): void {
    this.#doorbell("bind_doorbell", doorbell, target(eventfd), { eventfd });
    this.fn.bindDoorbell(doorbell, eventfd);
  }

  unbindDoorbell(doorbell: Doorbell): void {
    this.#doorbell("unbind_doorbell", doorbell, target(-1), {});
    this.fn.unbindDoorbell(doorbell);
  }

  doorbellPage(doorbell: Doorbell): MappablePage | undefined {
    return this.fn.doorbellPage(doorbell);
  }

  reset(): void {
    this.#call("reset", "function level reset", {});
    this.fn.reset();
  }

  close(): void {
    this.#call("close", "given back", {});
    this.fn.close();
  }

  #doorbell(call: string, { region, offset, value }: Doorbell, what: string, more: object): void {
    const { queue } = this.#named(region, offset, value);
    const whose = queue === undefined ? "" : ` of queue ${queue}`;
    this.#call(call, `doorbell${whose} ${what}`, { ...more, ...(queue === undefined ? {} : { queue }) });
  }

  #call(call: string, text: string, more: { readonly [key: string]: number }): void {
    this.trace(`function ${text}`, { event: "function_call", call, ...more });
  }

  #named(region: number, offset: number, value: number): NamedWrite {
    const place = region === CONFIG_REGION ? "config space" : `region ${region}`;
    return this.map?.name(region, offset, value) ?? { register: `${place} +${hex(offset)}`, value };
  }
}

const target = (eventfd: number) => (eventfd < 0 ? "not connected" : `connected to eventfd ${eventfd}`);
