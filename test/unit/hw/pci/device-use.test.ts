import { afterEach, beforeEach, expect, test } from "bun:test";
import { findPciDevice } from "../../../../src/hw/pci/device.ts";
import { deviceUses } from "../../../../src/hw/pci/device-use.ts";
import { FakeHost } from "./fake-host.ts";

const BDF = "0000:00:04.0";
let host: FakeHost;
const uses = () => deviceUses(findPciDevice(BDF, host), host);

beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

const net = () =>
  host.device(BDF, { driver: "virtio-pci", virtio: { name: "virtio0", driver: "virtio_net" } });
const blk = () =>
  host
    .device(BDF, { device: 0x1042, driver: "virtio-pci", virtio: { name: "virtio0", driver: "virtio_blk" } })
    .disk(BDF, "virtio0", "vdb");

test("an interface that is up without addresses and routes is free", () => {
  net().netdev(BDF, "virtio0", "eth1");
  expect(uses()).toEqual([]);
});

test("addresses count while the interface is up", () => {
  net().netdev(BDF, "virtio0", "eth1", { addresses: ["192.0.2.1/24"] });
  expect(uses()).toEqual(["eth1 is up with 192.0.2.1/24"]);
  host.netdev(BDF, "virtio0", "eth1", { up: false, addresses: ["192.0.2.1/24"] });
  expect(uses()).toEqual([]);
});

test("IPv4 routes of this interface", () => {
  net()
    .netdev(BDF, "virtio0", "eth1")
    .file(
      "proc/net/route",
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
        "eth1\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
        "eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    );
  expect(uses()).toEqual(["eth1 carries the routes default (IPv4), 192.0.2.0/24"]);
});

test("IPv6 routes but those of link-local and multicast addresses", () => {
  const zero = "0".repeat(32);
  const row = (destination: string, prefix: string) =>
    `${destination} ${prefix} ${zero} 00 ${zero} 00000100 00000001 00000000 00000001     eth1\n`;
  net()
    .netdev(BDF, "virtio0", "eth1")
    .file(
      "proc/net/ipv6_route",
      row(`fe80${"0".repeat(28)}`, "40") +
        row(`ff00${"0".repeat(28)}`, "08") +
        row(`20010db8${"0".repeat(24)}`, "20"),
    );
  expect(uses()).toEqual(["eth1 carries the route 2001:db8::/32"]);
});

test.each([
  ["brport", "br0", "eth1 is a port of bridge br0"],
  ["bonding_slave", "bond0", "eth1 is a part of bond bond0"],
  ["other", "ovs-system", "eth1 is a port of an Open vSwitch bridge"],
  ["other", "vrf1", "eth1 belongs to vrf1"],
])("a master with %p", (entry, master, use) => {
  net().netdev(BDF, "virtio0", "eth1");
  host.directory(`sys/class/net/eth1/${entry}`).link("sys/class/net/eth1/master", `../${master}`);
  expect(uses()).toEqual([use]);
});

test("interfaces that are built on it", () => {
  net().netdev(BDF, "virtio0", "eth1").link("sys/class/net/eth1/upper_eth1.5", "../eth1.5");
  expect(uses()).toEqual(["eth1.5 is built on eth1"]);
});

test("an interface in another network namespace", () => {
  net();
  expect(uses()).toEqual(["its network interface is in another network namespace"]);
});

test("virtual functions", () => {
  host.device(BDF, { driver: "virtio-pci", files: { sriov_numvfs: "2\n" } });
  expect(uses()).toEqual(["it has 2 virtual functions enabled"]);
});

test("a mounted partition, by number and by name", () => {
  blk().file(
    "proc/self/mountinfo",
    "29 1 253:1 / /mnt/a\\040b rw - ext4 /dev/root rw\n30 1 0:41 / /btrfs rw - btrfs /dev/vdb rw\n31 1 8:1 / /x rw - ext4 /dev/sda1 rw\n",
  );
  expect(uses()).toEqual(["vdb is mounted on /btrfs", "vdb1 is mounted on /mnt/a b"]);
});

test("swap space and device mapper", () => {
  blk().file("proc/swaps", "Filename\t\tType\t\tSize\tUsed\tPriority\n/dev/vdb1  partition\t100\t0\t-2\n");
  host.directory(`sys/bus/pci/devices/${BDF}/virtio0/block/vdb/holders/dm-0`);
  expect(uses()).toEqual(["dm-0 is built on vdb", "vdb1 is used as swap space"]);
});

test("the disk of a SCSI host", () => {
  host
    .device(BDF, { device: 0x1048, driver: "virtio-pci", virtio: { name: "virtio0", driver: "virtio_scsi" } })
    .file(`sys/bus/pci/devices/${BDF}/virtio0/host2/target2:0:0/2:0:0:0/block/sda/dev`, "8:0\n")
    .file("proc/self/mountinfo", "29 1 8:0 / /data rw - ext4 /dev/sda rw\n");
  expect(uses()).toEqual(["sda is mounted on /data"]);
});

test("a process that holds the group of a device at VFIO", () => {
  host.device(BDF, { driver: "vfio-pci", group: 7 });
  host
    .holder(812, "vdpactl", ["/dev/null", `${host.dev}/vfio/7`])
    .holder(813, "other", [`${host.dev}/vfio/8`]);
  expect(uses()).toEqual(["process 812 (vdpactl) holds it"]);
});

test("a process that holds the device by its own node", () => {
  host.device(BDF, { driver: "vfio-pci", group: 7, files: { "vfio-dev/vfio3/dev": "511:3\n" } });
  host.holder(812, "qemu", [`${host.dev}/vfio/devices/vfio3`]);
  expect(uses()).toEqual(["process 812 (qemu) holds it"]);
});

test("a free device at VFIO has no uses", () => {
  host.device(BDF, { driver: "vfio-pci", group: 7 });
  expect(uses()).toEqual([]);
});
