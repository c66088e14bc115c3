import {
  CONFIG_REGION,
  type Doorbell,
  type MappablePage,
  type PciFunction,
  type RegisterWidth,
} from "../../../../src/hw/pci-function.ts";
import { FakeDma } from "./fake-dma.ts";

/** The parts of a PCI function that the virtio code does not look at, and bytes as regions. */
export class FakeFunction implements PciFunction {
  readonly name = "0000:00:09.0";
  readonly dma = new FakeDma();
  readonly msixVectors = 8;
  readonly vfioFds = undefined;
  readonly regions = new Map<number, Uint8Array>([[CONFIG_REGION, new Uint8Array(256)]]);
  readonly accesses: string[] = [];
  /** All reads give ones, as of a device that was pulled out. */
  gone = false;
  page: MappablePage | undefined;

  get config(): DataView {
    return new DataView(this.regions.get(CONFIG_REGION)!.buffer);
  }

  regionSize(region: number): number {
    return this.regions.get(region)?.length ?? 0;
  }

  isIoPort(): boolean {
    return false;
  }

  read(region: number, offset: number, width: RegisterWidth): number {
    this.#check(region, offset, width);
    if (this.gone) return 2 ** (8 * width) - 1;
    return this.onRead(region, offset, width);
  }

  write(region: number, offset: number, width: RegisterWidth, value: number): void {
    this.#check(region, offset, width);
    if (!this.gone) this.onWrite(region, offset, width, value);
  }

  /** Overridden by devices with registers. */
  onRead(region: number, offset: number, width: RegisterWidth): number {
    const view = new DataView(this.regions.get(region)!.buffer);
    return width === 1
      ? view.getUint8(offset)
      : width === 2
        ? view.getUint16(offset, true)
        : view.getUint32(offset, true);
  }

  onWrite(region: number, offset: number, width: RegisterWidth, value: number): void {
    const view = new DataView(this.regions.get(region)!.buffer);
    if (width === 1) view.setUint8(offset, value);
    else if (width === 2) view.setUint16(offset, value, true);
    else view.setUint32(offset, value, true);
  }

  #check(region: number, offset: number, width: number): void {
    if (offset < 0 || offset + width > this.regionSize(region) || offset % width) {
      throw new RangeError(`access ${width}@${offset} of region ${region}`);
    }
    this.accesses.push(`${region}:${offset}:${width}`);
  }

  enableMsix(): void {}
  setVector(): void {}
  disableMsix(): void {}
  watch(): boolean {
    return false;
  }
  bindDoorbell(): void {}
  unbindDoorbell(): void {}
  doorbellPage(_doorbell: Doorbell): MappablePage | undefined {
    return this.page;
  }
  reset(): void {}
  close(): void {}
}
