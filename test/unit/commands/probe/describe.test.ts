import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { Output } from "../../../../src/cli/output.ts";
import { painter } from "../../../../src/cli/terminal.ts";
import { describeDevice } from "../../../../src/commands/probe/describe.ts";
import type { Registers } from "../../../../src/commands/probe/registers.ts";
import { renderDetail } from "../../../../src/commands/probe/render-detail.ts";
import { renderList } from "../../../../src/commands/probe/render-list.ts";
import { findPciDevice } from "../../../../src/hw/pci/device.ts";
import { pciNames } from "../../../../src/hw/pci/pci-ids.ts";
import { ConfigSpace, modernNet } from "../../hw/pci/config-space.ts";
import { FakeHost } from "../../hw/pci/fake-host.ts";

const BDF = "0000:00:04.0";
const bits = (...set: number[]) =>
  Array.from({ length: 64 }, (_, bit) => (set.includes(bit) ? "1" : "0")).join("");

let host: FakeHost;
let opened: string[];
let answer: Registers | { problem: string };
const describe = (bdf = BDF) =>
  describeDevice(findPciDevice(bdf, host), {
    host,
    lookUp: pciNames(host),
    readRegisters: (name) => {
      opened.push(name);
      return answer;
    },
  });
const codes = () => describe().obstacles.map(({ code }) => code);

beforeEach(() => {
  host = new FakeHost();
  opened = [];
  answer = { problem: "not expected" };
  // Root's rights and an unlimited memlock, whoever runs the tests.
  host.file("proc/self/status", "CapEff:\t000001ffffffffff\n");
});
afterEach(() => host.remove());

const boundToKernel = (features = bits(5, 17, 32, 33, 40)) =>
  host
    .device(BDF, {
      driver: "virtio-pci",
      group: 3,
      virtio: { name: "virtio0", driver: "virtio_net", features },
    })
    .netdev(BDF, "virtio0", "eth1");

test("a network device with the kernel's driver is described without being opened", () => {
  boundToKernel().file("sys/class/net/eth1/carrier", "1\n").file("sys/class/net/eth1/speed", "-1\n");
  expect(describe()).toMatchObject({
    bdf: BDF,
    type: "net",
    layout: "modern",
    driver: "virtio-pci",
    virtio_driver: "virtio_net",
    interfaces: ["eth1"],
    iommu_group: 3,
    state: "kernel",
    queues: 3,
    queue_size: null,
    msix_vectors: 3,
    features: {
      source: "kernel",
      mask: "0x10300020020",
      names: ["MAC", "CTRL_VQ", "VERSION_1", "ACCESS_PLATFORM", "RING_RESET"],
    },
    config: { mac: "02:00:00:00:00:01", mtu: 1500, max_virtqueue_pairs: 1, link: "up", speed_mbps: null },
    ring_reset: true,
    access_platform: true,
    doorbell: "ioeventfd",
    obstacles: [{ code: "not_bound", remedy: `vdpactl bind ${BDF}` }],
  });
  expect(opened).toEqual([]);
});

test("queue pairs that the driver has but does not use now", () => {
  boundToKernel().queuePairs["eth1"] = 4;
  expect(describe()).toMatchObject({ queues: 9, config: { max_virtqueue_pairs: 4 } });
});

test("a free device at VFIO is read through its registers", () => {
  host.device(BDF, { driver: "vfio-pci", group: 3 });
  answer = { features: (1n << 33n) | 1n, queues: 3, queueSize: 256, config: { mtu: 9000 } };
  expect(describe()).toMatchObject({
    state: "ready",
    queues: 3,
    queue_size: 256,
    features: { source: "device", mask: "0x200000001" },
    config: { mtu: 9000 },
    ring_reset: false,
    obstacles: [],
    note: null,
  });
  expect(opened).toEqual([BDF]);
});

test("a device whose registers can not be read says why", () => {
  host.device(BDF, { driver: "vfio-pci", group: 3 });
  answer = { problem: "open /dev/vfio/3: Permission denied" };
  expect(describe()).toMatchObject({
    features: null,
    access_platform: null,
    note: "open /dev/vfio/3: Permission denied",
  });
});

test("a device that a process holds is left alone", () => {
  host.device(BDF, { driver: "vfio-pci", group: 3 }).holder(9, "qemu", [`${host.dev}/vfio/3`]);
  expect(describe()).toMatchObject({
    state: "held",
    used_by: ["process 9 (qemu) holds it"],
    obstacles: [{ code: "held" }],
  });
  expect(opened).toEqual([]);
});

test("no driver at all", () => {
  host.device(BDF, { group: 3 });
  expect(describe()).toMatchObject({
    state: "unbound",
    features: null,
    obstacles: [{ code: "not_bound", text: "it has no driver" }],
  });
});

test("a disk", () => {
  host
    .device(BDF, {
      device: 0x1042,
      driver: "virtio-pci",
      group: 1,
      virtio: { name: "virtio0", driver: "virtio_blk", features: bits(32, 33) },
    })
    .disk(BDF, "virtio0", "vdb");
  expect(describe()).toMatchObject({
    type: "blk",
    interfaces: ["vdb"],
    queues: 1,
    config: { capacity_bytes: 2048 * 512, block_size: 512, num_queues: 1 },
  });
  expect(codes()).toEqual(["unsupported_type", "not_bound"]);
});

test("without an IOMMU, and with VFIO's mode without one", () => {
  host.device(BDF, { driver: "virtio-pci" });
  expect(codes()).toContain("no_iommu");
  host.device(BDF, { driver: "vfio-pci", group: 0 }).file("dev/vfio/noiommu-0", "");
  expect(codes()).toContain("no_iommu");
});

test("the remedy differs for virtual machines", () => {
  host.device(BDF, { driver: "virtio-pci" });
  const remedy = () => describe().obstacles.find(({ code }) => code === "no_iommu")?.remedy;
  expect(remedy()).toContain("firmware");
  host.file("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n");
  expect(remedy()).toContain("QEMU");
});

test("who shares the group", () => {
  boundToKernel().device("0000:00:05.0", { driver: "e1000", group: 3 });
  const shared = describe().obstacles.find(({ code }) => code === "group_shared");
  expect(shared).toEqual({
    code: "group_shared",
    text: "IOMMU group 3 has 0000:00:05.0 (e1000) too",
    remedy: `vdpactl bind ${BDF} 0000:00:05.0`,
  });
});

test("ACCESS_PLATFORM missing in a virtual machine and elsewhere, and unknowable", () => {
  boundToKernel(bits(32));
  expect(describe()).toMatchObject({ access_platform: false, obstacles: [{ code: "not_bound" }] });
  host.file("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n");
  expect(codes()).toContain("no_access_platform");
  host.device("0000:00:06.0", { group: 4 });
  expect(describe("0000:00:06.0").access_platform).toBeNull();
});

test("legacy and transitional devices", () => {
  host.device(BDF, { device: 0x1000, config: new ConfigSpace().addMsix(0x40, 2, 1, 0x801).bytes, group: 1 });
  expect(describe()).toMatchObject({
    layout: "legacy",
    access_platform: false,
    doorbell: "ioeventfd",
    msix_vectors: 3,
  });
  host.device(BDF, { device: 0x1000, config: modernNet().bytes, group: 1 });
  expect(describe()).toMatchObject({ layout: "transitional", access_platform: null });
});

test("a device without interrupts, and one whose capabilities can not be read", () => {
  const config = new ConfigSpace().addVirtio(0x40, { type: 1, bar: 0, offset: 0, length: 0x38 }).bytes;
  host.device(BDF, { driver: "vfio-pci", group: 3, config });
  expect(describe()).toMatchObject({
    msix_vectors: 0,
    obstacles: [{ code: "no_vectors", remedy: expect.stringContaining("vectors=") }],
  });
  host.device(BDF, { driver: "vfio-pci", group: 3, config: config.slice(0, 64) });
  expect(describe()).toMatchObject({ msix_vectors: null, obstacles: [] });
});

test("doorbells with a page each can be mapped into the guest", () => {
  const config = new ConfigSpace().addVirtio(0x40, {
    type: 2,
    bar: 0,
    offset: 0x3000,
    length: 0x4000,
    more: [0, 0x10, 0, 0],
  });
  host.device(BDF, { config: config.bytes, group: 1 });
  expect(describe().doorbell).toBe("host-notifier");
});

test("64 bytes of configuration space leave open what lies behind", () => {
  host.device(BDF, { config: modernNet().bytes.slice(0, 64), group: 1 });
  expect(describe()).toMatchObject({ capabilities: null, msix_vectors: null, doorbell: null });
});

test("a small memlock limit without CAP_IPC_LOCK", () => {
  boundToKernel();
  host.file("proc/self/status", "CapEff:\t0000000000000000\n");
  const limit = (value: string) =>
    host.file("proc/self/limits", `Max locked memory         ${value} ${value} bytes\n`);
  limit("8388608");
  expect(codes()).toContain("memlock");
  limit("unlimited");
  expect(codes()).not.toContain("memlock");
});

test("a VFIO node that exists and may be used is no obstacle", () => {
  host.device(BDF, { driver: "vfio-pci", group: 3 }).file("dev/vfio/3", "");
  chmodSync(`${host.dev}/vfio/3`, 0o600);
  answer = { features: 1n << 33n, queues: 3, queueSize: 256, config: null };
  expect(codes()).toEqual([]);
});

test("the look of lspci", () => {
  boundToKernel();
  const text = renderDetail(describe(), painter(false));
  expect(text).toContain(`${BDF} Red Hat, Inc. Virtio network device [1af4:1041] (rev 01)\n`);
  expect(text).toContain(
    "\tCapabilities: [70] Vendor Specific Information: VirtIO: Notify\n\t\tBAR=0 offset=00006000 size=00001000 multiplier=00000004\n",
  );
  expect(text).toContain(
    "\tCapabilities: [98] MSI-X: Enable+ Count=3\n\t\tVector table: BAR=0 offset=00008000\n\t\tPBA: BAR=0 offset=00048000\n",
  );
  expect(text).toContain(
    "\tFeatures: 0x10300020020 (accepted by the kernel's driver; the device may offer more)\n\t\tMAC CTRL_VQ VERSION_1",
  );
});

test("one line for each device", () => {
  boundToKernel();
  const output = new Output({ format: "text", color: false, terminal: false });
  expect(renderList([describe()], output)).toBe(`${BDF}  net  virtio-pci (eth1)  3  3  kernel  not bound\n`);
  expect(renderList([], output)).toBe("");
});

test("a device at VFIO is opened by its own node only where there is iommufd too", () => {
  host.device(BDF, { driver: "vfio-pci", group: 3, files: { "vfio-dev/vfio5/dev": "511:5\n" } });
  expect(describe().vfio).toBeNull();
  expect(codes()).toEqual([]);
  host.file("dev/vfio/devices/vfio5", "");
  expect(describe().vfio).toBeNull();
  expect(describe().obstacles).toMatchObject([
    { code: "vfio_permission", text: `this user may not open ${host.dev}/vfio/devices/vfio5` },
  ]);
  host.file("dev/vfio/3", "");
  expect(describe().vfio).toBe("group");
  expect(renderDetail(describe(), painter(false))).toContain("\tVFIO: by IOMMU group and container\n");
  host.file("dev/iommu", "");
  expect(describe().vfio).toBe("iommufd");
  expect(renderDetail(describe(), painter(false))).toContain(
    "\tVFIO: by the device's own node and iommufd\n",
  );
});
