import { join } from "node:path";
import { type BindSystem, StillHeld } from "../../../../src/hw/pci/bind-system.ts";
import type { SysfsWrite } from "../../../../src/hw/pci/driver-plan.ts";
import { readAttribute, readLinkName } from "../../../../src/hw/pci/host.ts";
import type { NodeOwner } from "../../../../src/hw/pci/node-owner.ts";
import type { FakeHost } from "./fake-host.ts";

/** Does to a fake host's files what the kernel does when drivers are bound and unbound. */
export class FakeKernel implements BindSystem {
  readonly writes: SysfsWrite[] = [];
  readonly chowns: { path: string; owner: NodeOwner }[] = [];
  readonly loaded: string[] = [];
  /** Devices that a driver does not take. */
  readonly refuses = new Set<string>();
  /** Devices that are never released. */
  readonly held = new Set<string>();
  /** Called after each write. */
  onWrite: (write: SysfsWrite) => void = () => {};

  constructor(readonly host: FakeHost) {}

  async write(write: SysfsWrite): Promise<void> {
    this.writes.push(write);
    const parts = write.path.split("/");
    if (write.path.endsWith("/driver_override")) this.#file(write.path, write.value || "(null)");
    else if (write.path.endsWith("/driver/unbind")) {
      const bdf = parts.at(-3)!;
      if (this.held.has(bdf)) throw new StillHeld(write.path);
      this.host.bind(bdf, undefined);
    } else if (write.path.endsWith("/drivers_probe")) this.#probe(write.value, undefined);
    else if (write.path.endsWith("/bind")) this.#probe(write.value, parts.at(-2));
    this.onWrite(write);
  }

  modprobe(module: string): void {
    this.loaded.push(module);
  }

  async chown(path: string, owner: NodeOwner): Promise<void> {
    this.chowns.push({ path, owner });
  }

  #probe(bdf: string, asked: string | undefined): void {
    const device = join(this.host.sys, "bus/pci/devices", bdf);
    if (readLinkName(join(device, "driver")) !== undefined) return;
    const override = readAttribute(join(device, "driver_override"));
    const driver = override !== "(null)" ? override : (asked ?? "virtio-pci");
    if (!this.refuses.has(`${bdf} ${driver}`)) this.host.bind(bdf, driver);
  }

  #file(path: string, content: string): void {
    this.host.file(path.slice(this.host.root.length + 1), `${content}\n`);
  }
}
