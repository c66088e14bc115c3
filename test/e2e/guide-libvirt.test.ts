import { afterEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Daemon, type DaemonOptions } from "./support/daemon.ts";
import { framesOfFirmware } from "./support/firmware-guest.ts";
import { adapt, recipe } from "./support/recipes.ts";
import { SessionLibvirt } from "./support/session-libvirt.ts";

/** docs/guide.md's pieces of domains, in a domain whose firmware boots from the network. */
const LIMIT_MS = 300_000;

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(options: DaemonOptions): Promise<Daemon> {
  const daemon = await Daemon.start(options);
  cleanup.push(() => daemon.dispose());
  return daemon;
}

async function startLibvirt(): Promise<SessionLibvirt> {
  const libvirt = await SessionLibvirt.start();
  cleanup.push(() => libvirt.close());
  return libvirt;
}

const domain = (name: string, body: string) => `
<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>128</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='network'/></os>
  ${body}
</domain>`;

const guestWith = (name: string, network: string) =>
  domain(name, `${recipe("libvirt-memory")}<devices>${network}</devices>`);

const RUNS = /sim runs with 2 rings/;

test(
  "vdpactl listens, and is restarted while the guest runs",
  async () => {
    const libvirt = await startLibvirt();
    const directory = mkdtempSync(join(tmpdir(), "vdpactl-guide-"));
    cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
    chmodSync(directory, 0o755);
    const options = { socketPath: join(directory, "vm1.sock"), args: ["--socket-mode", "0666"] };
    const daemon = await start(options);
    const network = adapt(recipe("libvirt-client"), { "/run/vh/vm1.sock": options.socketPath });
    await libvirt.create("listens", guestWith("listens", network));
    await daemon.logged(RUNS);
    const frames = await framesOfFirmware(daemon);
    expect(await daemon.stop()).toBe(0);
    const next = await start(options);
    await next.logged(RUNS);
    await framesOfFirmware(next, frames);
  },
  LIMIT_MS,
);

test(
  "QEMU listens, with two queue pairs",
  async () => {
    const libvirt = await startLibvirt();
    const socketPath = join(libvirt.directory, "vm1.sock");
    const daemon = await start({ socketPath, args: ["--client"] });
    const network = adapt(recipe("libvirt-server"), { "/run/libvirt-vm1/vm1.sock": socketPath });
    await libvirt.create("connects", guestWith("connects", network));
    await daemon.logged(RUNS);
    await framesOfFirmware(daemon);
    expect(await libvirt.monitor("connects", "info network")).toMatch(/index=1,type=vhost-user/);
  },
  LIMIT_MS,
);

test(
  "the machine in which vdpactl could run has its NIC behind an IOMMU",
  async () => {
    const libvirt = await startLibvirt();
    await libvirt.create("outer", domain("outer", recipe("nested-libvirt")));
    const tree = await libvirt.monitor("outer", "info qtree");
    expect(tree).toMatch(/dev: intel-iommu/);
    expect(tree).toMatch(/caching-mode = true/);
    expect(tree).toMatch(/intremap = "on"/);
    expect(tree).toMatch(/aw-bits = 48/);
    expect(tree).toMatch(/dev: virtio-net-pci-non-transitional/);
    expect(tree).toMatch(/dev: virtio-net-device[\s\S]*?iommu_platform = true/);
  },
  LIMIT_MS,
);
