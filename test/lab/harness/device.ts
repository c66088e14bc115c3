// A virtio PCI device of the VM's shape, as sysfs shows it.
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type DeviceShape, macOf, portSlot } from "./shape.ts";
import { until } from "./until.ts";

export class Device {
  readonly bdf: string;
  readonly mac: string;

  constructor(
    readonly shape: DeviceShape,
    index: number,
  ) {
    // The firmware numbers the buses; the port's slot is ours.
    const port = `/sys/bus/pci/devices/0000:00:${portSlot(index).toString(16)}.0`;
    const child = readdirSync(port).find((name) => /^[0-9a-f]{4}:[0-9a-f]{2}:00\.0$/.test(name));
    if (child === undefined) throw new Error(`nothing stands behind ${port}`);
    this.bdf = child;
    this.mac = macOf(index);
  }

  get sysfs(): string {
    return `/sys/bus/pci/devices/${this.bdf}`;
  }

  /** Name of the driver that has the device, undefined when none has. */
  get driver(): string | undefined {
    const link = join(this.sysfs, "driver");
    return existsSync(link) ? basename(readlinkSync(link)) : undefined;
  }

  get group(): string | undefined {
    const link = join(this.sysfs, "iommu_group");
    return existsSync(link) ? basename(readlinkSync(link)) : undefined;
  }

  /** Its own node below /dev while vfio-pci has it, undefined where the kernel has none. */
  get vfioNode(): string | undefined {
    const folder = join(this.sysfs, "vfio-dev");
    const names = existsSync(folder) ? readdirSync(folder) : [];
    const name = names.find((entry) => existsSync(join(folder, entry, "dev")));
    return name && `/dev/vfio/devices/${name}`;
  }

  /** The other devices of its IOMMU group. */
  get companions(): string[] {
    const all = readdirSync(join(this.sysfs, "iommu_group/devices"));
    return all.filter((bdf) => bdf !== this.bdf);
  }

  read(attribute: string): string {
    return readFileSync(join(this.sysfs, attribute), "utf8").trim();
  }

  /** The virtio device below it ("virtio3") while a virtio driver has the PCI device. */
  get virtio(): string | undefined {
    return readdirSync(this.sysfs).find((name) => /^virtio\d+$/.test(name));
  }

  /** Bits the kernel's driver negotiated, lowest first, as sysfs prints them. */
  get negotiated(): string {
    return this.read(`${this.virtio}/features`);
  }

  /** The kernel's network interface. */
  interface(): Promise<string> {
    return until(`a network interface of ${this.bdf}`, () => {
      const folder = `${this.sysfs}/${this.virtio}/net`;
      return existsSync(folder) ? readdirSync(folder)[0] : undefined;
    });
  }

  /** Gives the device to another driver with the kernel's own means, for what must not depend on vdpactl. */
  async handTo(driver: string): Promise<void> {
    if (this.driver !== undefined) writeFileSync(join(this.sysfs, "driver/unbind"), this.bdf);
    writeFileSync(join(this.sysfs, "driver_override"), driver + "\n");
    writeFileSync("/sys/bus/pci/drivers_probe", this.bdf);
    await until(`${driver} to take ${this.bdf}`, () => this.driver === driver);
  }
}
