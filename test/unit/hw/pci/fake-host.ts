import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Host } from "../../../../src/hw/pci/host.ts";
import { modernNet } from "./config-space.ts";

export interface FakeDevice {
  readonly vendor?: number;
  readonly device?: number;
  readonly subsystem_device?: number;
  readonly class?: number;
  readonly driver?: string;
  readonly driver_override?: string;
  readonly group?: number;
  readonly config?: Uint8Array;
  readonly resource?: string;
  /** The virtio device that virtio-pci made of it. */
  readonly virtio?: { readonly name: string; readonly driver?: string; readonly features?: string };
  /** Further files by their path below the device. */
  readonly files?: Readonly<Record<string, string>>;
}

/** A machine in a temporary directory. Files may be added at will. */
export class FakeHost implements Host {
  readonly root = mkdtempSync(join(tmpdir(), "vdpactl-host-"));
  readonly sys = join(this.root, "sys");
  readonly proc = join(this.root, "proc");
  readonly dev = join(this.root, "dev");
  readonly run = join(this.root, "run");
  readonly etc = join(this.root, "etc");
  readonly pciIds: string[] = [];
  readonly queuePairs: Record<string, number> = {};
  readonly netAddresses: Record<string, string[]> = {};

  constructor() {
    this.file("sys/bus/pci/drivers_probe", "");
    for (const driver of ["virtio-pci", "vfio-pci"]) this.file(`sys/bus/pci/drivers/${driver}/bind`, "");
  }

  addresses(netdev: string): string[] {
    return this.netAddresses[netdev] ?? [];
  }

  maxQueuePairs(netdev: string): number | undefined {
    return this.queuePairs[netdev];
  }

  file(path: string, content: string | Uint8Array): this {
    const full = join(this.root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, content);
    return this;
  }

  directory(path: string): this {
    mkdirSync(join(this.root, path), { recursive: true });
    return this;
  }

  link(path: string, target: string): this {
    const full = join(this.root, path);
    mkdirSync(dirname(full), { recursive: true });
    rmSync(full, { force: true });
    symlinkSync(target, full);
    return this;
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8");
  }

  device(bdf: string, spec: FakeDevice = {}): this {
    const at = `sys/bus/pci/devices/${bdf}`;
    const hex = (id: number, width = 4) => `0x${id.toString(16).padStart(width, "0")}\n`;
    this.file(`${at}/vendor`, hex(spec.vendor ?? 0x1af4));
    this.file(`${at}/device`, hex(spec.device ?? 0x1041));
    this.file(`${at}/subsystem_vendor`, hex(0x1af4));
    this.file(`${at}/subsystem_device`, hex(spec.subsystem_device ?? 0x1100));
    this.file(`${at}/revision`, hex(1, 2));
    this.file(`${at}/class`, hex(spec.class ?? 0x020000, 6));
    this.file(`${at}/numa_node`, "-1\n");
    this.file(`${at}/driver_override`, `${spec.driver_override ?? "(null)"}\n`);
    this.file(`${at}/config`, spec.config ?? modernNet().bytes);
    this.file(
      `${at}/resource`,
      spec.resource ?? "0x0000004000100000 0x000000400017ffff 0x0000000000140204\n",
    );
    if (spec.driver !== undefined) this.bind(bdf, spec.driver);
    if (spec.group !== undefined) {
      this.link(`${at}/iommu_group`, `../../../../kernel/iommu_groups/${spec.group}`);
      this.directory(`sys/kernel/iommu_groups/${spec.group}/devices/${bdf}`);
    }
    if (spec.virtio) {
      const { name, driver, features = "" } = spec.virtio;
      this.file(`${at}/${name}/features`, `${features}\n`).file(`${at}/${name}/status`, "0x0000000f\n");
      if (driver !== undefined) this.link(`${at}/${name}/driver`, `../../../../bus/virtio/drivers/${driver}`);
    }
    for (const [path, content] of Object.entries(spec.files ?? {})) this.file(`${at}/${path}`, content);
    return this;
  }

  /** Lets a driver have a device, or none. */
  bind(bdf: string, driver: string | undefined): this {
    const link = `sys/bus/pci/devices/${bdf}/driver`;
    if (driver === undefined) rmSync(join(this.root, link), { force: true });
    else {
      this.link(link, `../../drivers/${driver}`);
      this.file(`sys/bus/pci/drivers/${driver}/unbind`, "");
    }
    return this;
  }

  /** A network interface of the device's virtio child. */
  netdev(bdf: string, virtio: string, name: string, { up = true, addresses = [] as string[] } = {}): this {
    this.directory(`sys/bus/pci/devices/${bdf}/${virtio}/net/${name}`);
    this.file(`sys/class/net/${name}/flags`, up ? "0x1003\n" : "0x1002\n");
    this.file(`sys/class/net/${name}/address`, "02:00:00:00:00:01\n").file(
      `sys/class/net/${name}/mtu`,
      "1500\n",
    );
    for (const queue of ["rx-0", "tx-0"]) this.directory(`sys/class/net/${name}/queues/${queue}`);
    this.netAddresses[name] = addresses;
    return this;
  }

  /** A disk of the device's virtio child, with one partition. */
  disk(bdf: string, virtio: string, name: string): this {
    const at = `sys/bus/pci/devices/${bdf}/${virtio}/block/${name}`;
    this.file(`${at}/dev`, "253:0\n")
      .file(`${at}/size`, "2048\n")
      .file(`${at}/queue/logical_block_size`, "512\n");
    this.file(`${at}/${name}1/dev`, "253:1\n").directory(`${at}/mq/0`);
    return this;
  }

  /** A process that has files open. */
  holder(pid: number, name: string, open: readonly string[]): this {
    this.file(`proc/${pid}/comm`, `${name}\n`);
    for (const [fd, path] of open.entries()) this.link(`proc/${pid}/fd/${fd}`, path);
    return this;
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
