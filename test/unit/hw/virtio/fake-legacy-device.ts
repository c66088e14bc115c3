import { CONFIG_REGION, type RegisterWidth } from "../../../../src/hw/pci-function.ts";
import { FakeFunction } from "./fake-function.ts";
import { writePciConfig } from "./pci-config.ts";

const MSIX_AT = 0x40;

/** A virtio 0.9.5 device: registers in BAR 0, vectors there only while MSI-X is enabled. */
export class FakeLegacyDevice extends FakeFunction {
  offered = 0x30n;
  driverFeatures = 0;
  status = 0;
  readonly sizes = [256, 256, 64];
  readonly pfns = [0, 0, 0];
  readonly vectors = [0xffff, 0xffff, 0xffff];
  configVector = 0xffff;
  readonly deviceConfig = new Uint8Array(40);
  readonly rings: number[] = [];
  onDoorbell: (queue: number) => void = () => {};
  /** Each read of the configuration differs from the last. */
  configNeverSettles = false;
  #select = 0;

  constructor(deviceId = 0x1000) {
    super();
    writePciConfig(this, deviceId);
    // An MSI-X capability, not enabled.
    this.config.setUint8(0x34, MSIX_AT);
    this.config.setUint8(MSIX_AT, 0x11);
    this.config.setUint16(MSIX_AT + 2, 7, true);
    this.regions.set(0, new Uint8Array(64));
  }

  set msixEnabled(on: boolean) {
    this.config.setUint16(MSIX_AT + 2, on ? 0x8007 : 7, true);
  }

  get #configStart(): number {
    return this.config.getUint16(MSIX_AT + 2, true) & 0x8000 ? 24 : 20;
  }

  override onRead(region: number, offset: number, width: RegisterWidth): number {
    if (region === CONFIG_REGION) return super.onRead(region, offset, width);
    if (offset >= this.#configStart) return this.#deviceConfig(offset - this.#configStart, width);
    switch (offset) {
      case 0:
        return Number(this.offered);
      case 8:
        return this.pfns[this.#select] ?? 0;
      case 12:
        return this.sizes[this.#select] ?? 0;
      case 18:
        return this.status;
      case 20:
        return this.configVector;
      case 22:
        return this.vectors[this.#select] ?? 0xffff;
    }
    throw new Error(`read of register ${offset}`);
  }

  override onWrite(region: number, offset: number, width: RegisterWidth, value: number): void {
    if (region === CONFIG_REGION) super.onWrite(region, offset, width, value);
    else if (offset === 4) this.driverFeatures = value;
    else if (offset === 8) this.pfns[this.#select] = value;
    else if (offset === 14) this.#select = value;
    else if (offset === 16) {
      this.rings.push(value);
      this.onDoorbell(value);
    } else if (offset === 18) {
      this.status = value;
      if (value === 0) this.pfns.fill(0);
    } else if (offset === 20) this.configVector = value;
    else if (offset === 22) this.vectors[this.#select] = value;
    else throw new Error(`write of register ${offset}`);
  }

  #deviceConfig(offset: number, width: RegisterWidth): number {
    if (this.configNeverSettles) this.deviceConfig[0]!++;
    const view = new DataView(this.deviceConfig.buffer);
    return width === 1
      ? view.getUint8(offset)
      : width === 2
        ? view.getUint16(offset, true)
        : view.getUint32(offset, true);
  }
}
