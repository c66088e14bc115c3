// What `vdpactl probe` says of each kind of virtio device, against what the kernel says.
import { readFileSync } from "node:fs";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { type NicShape, pairsOf, vectorsOf } from "./harness/shape.ts";
import { vdpactl, vdpactlJson } from "./harness/vdpactl.ts";

/** The keys of a record that are compared. */
interface ProbeRecord {
  bdf: string;
  type: string;
  layout: string;
  driver: string | null;
  virtio_driver: string | null;
  interfaces: string[];
  iommu_group: number;
  state: string;
  queues: number;
  msix_vectors: number;
  features: { source: string; mask: string; names: string[] };
  config: Record<string, string | number | null>;
  ring_reset: boolean | null;
  access_platform: boolean | null;
  doorbell: string;
  obstacles: { code: string }[];
}

/** sysfs prints feature bits as digits, bit 0 first. */
function maskOf(digits: string): string {
  return "0x" + BigInt("0b" + [...digits].reverse().join("")).toString(16);
}

const codes = (record: ProbeRecord) => record.obstacles.map(({ code }) => code).sort();

async function probe(...args: string[]): Promise<ProbeRecord[]> {
  return (await vdpactlJson("probe", ...args)) as ProbeRecord[];
}

async function checkNic(lab: Lab, device: Device, record: ProbeRecord): Promise<void> {
  const shape = device.shape as NicShape;
  const name = (what: string) => `${shape.name}: ${what}`;
  const link = await device.interface();
  const attribute = (file: string) => readFileSync(`/sys/class/net/${link}/${file}`, "utf8").trim();
  const modern = (shape.layout ?? "modern") === "modern";
  lab.equal(name("type"), record.type, "net");
  lab.equal(name("register layout"), record.layout, shape.layout ?? "modern");
  lab.equal(name("drivers"), [record.driver, record.virtio_driver], [device.driver ?? null, "virtio_net"]);
  lab.equal(name("interfaces"), record.interfaces, [link]);
  lab.equal(name("IOMMU group"), String(record.iommu_group), device.group);
  lab.equal(name("state"), record.state, "kernel");
  lab.equal(name("feature bits"), record.features.mask, maskOf(device.negotiated));
  lab.equal(name("queues"), record.queues, 2 * pairsOf(shape) + 1);
  lab.equal(name("vectors"), record.msix_vectors, vectorsOf(shape));
  lab.equal(name("MAC"), record.config["mac"], attribute("address"));
  lab.equal(name("MTU"), record.config["mtu"], Number(attribute("mtu")));
  lab.equal(name("pairs"), record.config["max_virtqueue_pairs"], pairsOf(shape));
  lab.equal(name("ACCESS_PLATFORM"), record.access_platform, modern);
  lab.equal(name("doorbell"), record.doorbell, shape.pagePerVq === true ? "host-notifier" : "ioeventfd");
  lab.equal(
    name("what stands in the way"),
    codes(record),
    modern ? ["not_bound"] : ["no_access_platform", "not_bound"],
  );
}

/** Bound to VFIO a device is asked itself, and offers what the kernel's driver accepted and more. */
async function checkBound(lab: Lab, device: Device): Promise<void> {
  const shape = device.shape as NicShape;
  const name = (what: string) => `${shape.name} at vfio-pci: ${what}`;
  const accepted = BigInt(maskOf(device.negotiated));
  await device.handTo("vfio-pci");
  const [record] = await probe(device.bdf);
  if (record === undefined) throw new Error(`probe ${device.bdf} lists nothing`);
  lab.equal(name("state"), record.state, "ready");
  lab.equal(name("nothing stands in the way"), codes(record), []);
  lab.equal(name("who tells of its features"), record.features.source, "device");
  const offered = BigInt(record.features.mask);
  lab.equal(name("bits that the kernel accepted and the device does not offer"), accepted & ~offered, 0n);
  lab.equal(name("RING_PACKED"), (offered >> 34n) & 1n, shape.packed === true ? 1n : 0n);
  lab.equal(name("MQ"), (offered >> 22n) & 1n, pairsOf(shape) > 1 ? 1n : 0n);
  lab.equal(name("resets single rings"), record.ring_reset, true);
  lab.equal(name("queues"), record.queues, 2 * pairsOf(shape) + 1);
  lab.equal(name("MAC"), record.config["mac"], device.mac);
  await device.handTo("virtio-pci");
}

export default scenario({
  summary: "probe on modern, transitional, legacy, packed, multiqueue, page-per-vq and block devices",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "modern" },
      { kind: "nic", name: "transitional", layout: "transitional" },
      { kind: "nic", name: "legacy", layout: "legacy" },
      { kind: "nic", name: "packed", packed: true },
      { kind: "nic", name: "multiqueue", pairs: 4 },
      { kind: "nic", name: "paged", pagePerVq: true },
      { kind: "nic", name: "few-vectors", pairs: 2, vectors: 3 },
      { kind: "disk", name: "disk", mebibytes: 64, queues: 2 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    const all = await probe();
    const inKernel = (await command("sh", "-c", "grep -l 0x1af4 /sys/bus/pci/devices/*/vendor"))
      .trim()
      .split("\n");
    lab.equal("lists every virtio device of the machine", all.length, inKernel.length);
    for (const device of lab.devices) {
      const record = all.find(({ bdf }) => bdf === device.bdf);
      lab.check(`${device.shape.name}: is listed`, record !== undefined, device.bdf);
      if (record !== undefined && device.shape.kind === "nic") await checkNic(lab, device, record);
    }
    const disk = all.find(({ bdf }) => bdf === lab.device("disk").bdf);
    lab.equal("disk: type", disk?.type, "blk");
    lab.equal("disk: capacity", disk?.config["capacity_bytes"], 64 * 1024 * 1024);
    lab.equal("disk: queues", disk?.queues, 2);
    for (const name of ["modern", "packed", "multiqueue", "paged"]) await checkBound(lab, lab.device(name));
    const text = await vdpactl("probe", lab.device("modern").bdf);
    lab.equal("in words: exit code", text.code, 0);
    lab.check("in words: names the device", text.stdout.includes(lab.device("modern").bdf));
    lab.equal("no such device: exit code", (await vdpactl("probe", "0000:7f:00.0")).code, 3);
  },
});
