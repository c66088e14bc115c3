import { describe, expect, test } from "bun:test";
import { OperatorError } from "../../../../src/hw/operator-error.ts";
import { CONFIG_REGION } from "../../../../src/hw/pci-function.ts";
import { openVfio } from "../../../../src/hw/vfio/open.ts";
import { CollectedLog } from "../../../support/virtio-driver/collected-log.ts";
import { BDF, FakeKernel } from "./fake-kernel.ts";
import { silentLog } from "./silent-log.ts";

const open = (kernel: FakeKernel, vfToken?: string) => openVfio(BDF, { log: silentLog, vfToken }, kernel);

/** What opening fails with; nothing may stay open then. */
function failure(kernel: FakeKernel, vfToken?: string): OperatorError {
  try {
    open(kernel, vfToken);
  } catch (error) {
    expect([...kernel.openFds.values()]).toEqual([]);
    expect(error).toBeInstanceOf(OperatorError);
    return error as OperatorError;
  }
  throw new Error("it opened");
}

describe("openVfio", () => {
  test("goes through group and container in the order the kernel wants", () => {
    const kernel = new FakeKernel();
    const fn = open(kernel);
    expect(kernel.calls.slice(0, 8)).toEqual([
      "open /dev/vfio/vfio",
      "VFIO_GET_API_VERSION",
      "VFIO_CHECK_EXTENSION",
      "open /dev/vfio/7",
      "VFIO_GROUP_GET_STATUS",
      "VFIO_GROUP_SET_CONTAINER",
      "VFIO_SET_IOMMU",
      "VFIO_GROUP_GET_DEVICE_FD",
    ]);
    expect(fn.name).toBe(BDF);
    expect(kernel.openFds.get(fn.vfioFds!.group!)).toBe("/dev/vfio/7");
    expect(kernel.openFds.get(fn.vfioFds!.device)).toBe(`device ${BDF}`);
  });

  test("prefers the character device and iommufd where both are there", () => {
    const kernel = new FakeKernel().withCdev();
    const fn = open(kernel);
    expect(kernel.calls.slice(0, 5)).toEqual([
      "open /dev/iommu",
      "open /dev/vfio/devices/vfio3",
      "VFIO_DEVICE_BIND_IOMMUFD",
      "IOMMU_IOAS_ALLOC",
      "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
    ]);
    expect(fn.vfioFds!.group).toBeUndefined();
  });

  test("goes through the group without a word where the kernel has no character devices", () => {
    const kernel = new FakeKernel();
    kernel.nodes.add("/dev/vfio/devices/vfio3").add("/dev/iommu");
    const log = new CollectedLog();
    expect(openVfio(BDF, { log }, kernel).vfioFds!.group).toBeDefined();
    expect(log.lines.filter((line) => !line.startsWith("debug"))).toEqual([]);
  });

  test.each([
    ["/dev/iommu", "ENOENT"],
    ["/dev/iommu", "EACCES"],
    ["/dev/vfio/devices/vfio3", "ENOENT"],
    ["/dev/vfio/devices/vfio3", "EACCES"],
    ["/dev/vfio/devices/vfio3", "EPERM"],
  ])("goes through the group where %p can not be opened (%s), and says so", (node, code) => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set(`open ${node}`, code);
    const log = new CollectedLog();
    const fn = openVfio(BDF, { log }, kernel);
    expect(kernel.openFds.get(fn.vfioFds!.group!)).toBe("/dev/vfio/7");
    expect([...kernel.openFds.values()].filter((path) => /iommu|devices/.test(path))).toEqual([]);
    expect(log.lines).toContain(
      `info: ${BDF}: opened through its IOMMU group, as ${node} can not be opened (${code})`,
    );
  });

  test("where neither way is open, the error is that of the way that is there", () => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set("open /dev/iommu", "EACCES");
    kernel.faults.set("open /dev/vfio/7", "EACCES");
    expect(failure(kernel).what).toBe("open /dev/vfio/7");
    // A kernel built without groups.
    kernel.faults.delete("open /dev/vfio/7");
    kernel.nodes.delete("/dev/vfio/vfio");
    expect(failure(kernel)).toMatchObject({
      what: "open /dev/iommu",
      remedy: "run as root, or let this user open it: setfacl -m u:USER:rw /dev/iommu",
    });
  });

  test("a device in use is not tried the other way", () => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set("VFIO_DEVICE_BIND_IOMMUFD", "EBUSY");
    failure(kernel);
    expect(kernel.calls).not.toContain("open /dev/vfio/7");
  });

  test("passes a VF token on with the name", () => {
    const kernel = new FakeKernel().withCdev();
    const fn = open(kernel, "e0d9b6b0-0000-4000-8000-000000000001");
    expect(kernel.openFds.get(fn.vfioFds!.device)).toBe(
      `device ${BDF} vf_token=e0d9b6b0-0000-4000-8000-000000000001`,
    );
  });

  test("switches memory, ports and bus mastering on", () => {
    const kernel = new FakeKernel();
    const fn = open(kernel);
    expect(kernel.command).toBe(7);
    expect(fn.regionSize(CONFIG_REGION)).toBe(256);
    expect([0, 4, 5].map((bar) => fn.isIoPort(bar))).toEqual([true, false, false]);
    expect([0, 1, 4].map((bar) => fn.regionSize(bar))).toEqual([64, 0, 0x8000]);
  });

  test.each([false, true])("a failure of any step leaves nothing open (character device: %p)", (cdev) => {
    const make = () => (cdev ? new FakeKernel().withCdev() : new FakeKernel());
    const good = make();
    open(good);
    const steps = new Set(good.calls);
    expect(steps.size).toBeGreaterThan(8);
    for (const step of steps) {
      const kernel = make();
      kernel.faults.set(step, "EIO");
      failure(kernel);
    }
  });
});

describe("openVfio explains", () => {
  test("a device that does not exist", () => {
    expect(() => openVfio("0000:09:00.0", { log: silentLog }, new FakeKernel())).toThrow(
      "no PCI device 0000:09:00.0",
    );
  });

  test.each([
    ["../virtio-pci", "its driver is virtio-pci"],
    [undefined, "it has no driver"],
  ])("a device with driver %p", (driver, why) => {
    const kernel = new FakeKernel();
    const link = `/sys/bus/pci/devices/${BDF}/driver`;
    if (driver) kernel.links.set(link, driver);
    else kernel.links.delete(link);
    const error = failure(kernel);
    expect(error).toMatchObject({ why, remedy: `vdpactl bind --pci ${BDF}`, kind: "not-ready" });
  });

  test("a missing IOMMU, also where the kernel would go on without one", () => {
    const without = new FakeKernel();
    without.links.delete(`/sys/bus/pci/devices/${BDF}/iommu_group`);
    expect(failure(without).message).toContain("has no IOMMU");
    const unsafe = new FakeKernel();
    unsafe.nodes.add("/dev/vfio/noiommu-7");
    expect(failure(unsafe).kind).toBe("not-ready");
  });

  test("a group that is not viable, by its other devices", () => {
    const kernel = new FakeKernel();
    kernel.viable = false;
    const devices = "/sys/kernel/iommu_groups/7/devices";
    kernel.links.set(`${devices}/0000:00:05.0/driver`, "../virtio-pci");
    kernel.links.set(`${devices}/0000:00:06.0/subsystem`, "../pci");
    kernel.links.set(`${devices}/0000:00:1c.0/driver`, "../pcieport");
    const error = failure(kernel);
    expect(error.message).toContain("in the way is 0000:00:05.0 (virtio-pci)");
    expect(error.message).not.toContain("0000:00:06.0");
    expect(error.message).not.toContain("pcieport");
    expect(error.remedy).toBe(`bind the whole group: vdpactl bind ${BDF} 0000:00:05.0`);
  });

  test("the same through the character device, all of them in the order of their addresses", () => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set("VFIO_DEVICE_BIND_IOMMUFD", "EPERM");
    const devices = "/sys/kernel/iommu_groups/7/devices";
    for (const other of ["0000:00:05.0", "0000:00:03.0"]) {
      kernel.links.set(`${devices}/${other}/driver`, "../virtio-pci");
    }
    const error = failure(kernel);
    expect(error.why).toContain("0000:00:03.0 (virtio-pci), 0000:00:05.0 (virtio-pci)");
    expect(error.remedy).toBe(`bind the whole group: vdpactl bind 0000:00:03.0 ${BDF} 0000:00:05.0`);
  });

  test("a group that somebody else owns, with no device to bind", () => {
    const kernel = new FakeKernel();
    kernel.viable = false;
    const error = failure(kernel);
    expect(error.message).toEndWith("in the way is another owner of the group");
    expect(error.remedy).toBe("stop that owner first");
  });

  test("a device that another process has open, with its pid", () => {
    const kernel = new FakeKernel();
    kernel.faults.set("open /dev/vfio/7", "EBUSY");
    kernel.links.set("/proc/812/fd/9", "/dev/vfio/7");
    kernel.links.set("/proc/813/fd/9", "/dev/vfio/8");
    kernel.files.set("/proc/812/comm", "qemu-system-x86");
    expect(failure(kernel).message).toBe("open /dev/vfio/7: qemu-system-x86 (pid 812) uses it (EBUSY)");
  });

  test("the same on the character device, not blaming this process", () => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL");
    kernel.links.set(`/proc/${process.pid}/fd/9`, "/dev/vfio/devices/vfio3");
    kernel.links.set("/proc/44/fd/9", "/dev/vfio/devices/vfio3");
    kernel.files.set("/proc/44/comm", "dpdk-testpmd");
    expect(failure(kernel).message).toContain(": dpdk-testpmd (pid 44) uses it");
  });

  test("the same on the group, which whoever has the character device keeps closed", () => {
    const kernel = new FakeKernel().withCdev();
    kernel.faults.set("open /dev/iommu", "EACCES");
    kernel.faults.set("open /dev/vfio/7", "EBUSY");
    kernel.links.set("/proc/44/fd/9", "/dev/vfio/devices/vfio3");
    kernel.files.set("/proc/44/comm", "vdpactl");
    expect(failure(kernel).message).toBe("open /dev/vfio/7: vdpactl (pid 44) uses it (EBUSY)");
  });

  test("another device of its group in use through an iommufd of its own", () => {
    const kernel = new FakeKernel().withCdev();
    const companion = "/sys/kernel/iommu_groups/7/devices/0000:00:05.0";
    kernel.links.set(`${companion}/driver`, "../vfio-pci");
    kernel.files.set(`${companion}/vfio-dev/vfio4/dev`, "511:4");
    kernel.links.set("/proc/44/fd/9", "/dev/vfio/devices/vfio4");
    kernel.files.set("/proc/44/comm", "vdpactl");
    kernel.faults.set("VFIO_DEVICE_BIND_IOMMUFD", "EPERM");
    const error = failure(kernel);
    expect(error.message).toContain("vdpactl (pid 44) uses another device of its IOMMU group 7 (EPERM)");
    expect(error.remedy).toBe("stop that process first");
  });

  test("missing permission, with the command that grants it", () => {
    const kernel = new FakeKernel();
    kernel.faults.set("open /dev/vfio/7", "EACCES");
    const error = failure(kernel);
    expect(error.message).toContain("open /dev/vfio/7: this user may not use it");
    expect(error.remedy).toContain(`vdpactl bind --pci ${BDF} --owner`);
  });

  test("a driver that is not loaded", () => {
    const kernel = new FakeKernel();
    kernel.nodes.delete("/dev/vfio/vfio");
    expect(failure(kernel).remedy).toBe("modprobe vfio-pci");
  });

  test.each([
    [false, "VFIO_SET_IOMMU", "vfio_iommu_type1"],
    [true, "VFIO_DEVICE_BIND_IOMMUFD", "iommufd"],
    [true, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "iommufd"],
  ])("unsafe interrupts (character device %p, %p)", (cdev, step, module) => {
    const kernel = cdev ? new FakeKernel().withCdev() : new FakeKernel();
    kernel.faults.set(step, "EPERM");
    const error = failure(kernel);
    expect(error.message).toContain(`ioctl ${step}`);
    expect(error.remedy).toContain(`/sys/module/${module}/parameters/allow_unsafe_interrupts`);
  });

  test("a wrong VF token", () => {
    const kernel = new FakeKernel();
    kernel.faults.set("VFIO_GROUP_GET_DEVICE_FD", "EACCES");
    expect(failure(kernel).message).toContain("its physical function has a VF token");
    expect(failure(kernel, "x").message).toContain("not the right one");
  });

  test("a device that was unplugged", () => {
    const kernel = new FakeKernel();
    kernel.regions.get(CONFIG_REGION)!.bytes.fill(0xff);
    expect(failure(kernel).message).toContain("as if it had been unplugged");
  });
});
