// `vdpactl bind`: to vfio-pci and back, all or nothing, and never a device that is in use.
import { existsSync } from "node:fs";
import { command } from "./harness/command.ts";
import type { Device } from "./harness/device.ts";
import type { Lab } from "./harness/lab.ts";
import { scenario } from "./harness/scenario.ts";
import { vdpactl, vdpactlJson } from "./harness/vdpactl.ts";

const REFUSED = 4;

interface Bound {
  devices: { bdf: string; driver_before: string; driver_after: string; changed: boolean }[];
}

async function bindAndBack(lab: Lab, device: Device): Promise<void> {
  const link = await device.interface();
  const plan = (await vdpactlJson("bind", "--dry-run", "--pci", device.bdf)) as { steps: unknown[] };
  lab.atLeast("dry run: steps", plan.steps.length, 3);
  lab.equal("dry run: the driver stays", device.driver, "virtio-pci");

  const bound = (await vdpactlJson("bind", "--pci", device.bdf)) as Bound;
  lab.equal("bind: the driver", device.driver, "vfio-pci");
  lab.check("bind: the group's node", existsSync(`/dev/vfio/${device.group}`), device.group);
  const { driver_before, driver_after, changed } = bound.devices[0] ?? {};
  lab.equal("bind: its report", [driver_before, driver_after, changed], ["virtio-pci", "vfio-pci", true]);

  const again = (await vdpactlJson("bind", "--pci", device.bdf)) as Bound;
  lab.equal("bind again: succeeds and changes nothing", again.devices[0]?.changed, false);

  lab.equal("unbind: exit code", (await vdpactl("bind", "--unbind", "--pci", device.bdf)).code, 0);
  lab.equal("unbind: no driver", device.driver, undefined);

  lab.equal("restore: exit code", (await vdpactl("bind", "--restore", "--pci", device.bdf)).code, 0);
  lab.equal("restore: the driver of old", device.driver, "virtio-pci");
  lab.equal("restore: no override remains", device.read("driver_override"), "(null)");
  lab.equal("restore: the interface of old", await device.interface(), link);
}

/** The second device's override cannot be written, as where a kernel has locked it down. */
async function rollBack(lab: Lab, first: Device, second: Device): Promise<void> {
  const override = `${second.sysfs}/driver_override`;
  await command("mount", "--bind", override, override);
  await command("mount", "-o", "remount,bind,ro", override);
  const both = ["--pci", first.bdf, "--pci", second.bdf];
  const failed = await vdpactl("bind", ...both);
  lab.equal("rollback: exit code", failed.code, 1);
  lab.check("rollback: names the device", failed.stderr.includes(second.bdf), failed.stderr.trim());
  lab.equal("rollback: both have their drivers", [first.driver, second.driver], ["virtio-pci", "virtio-pci"]);
  lab.equal("rollback: no override remains", first.read("driver_override"), "(null)");
  lab.check("rollback: the first has its interface", (await first.interface()) !== "");
  await command("umount", override);
  lab.equal("both together, afterwards: exit code", (await vdpactl("bind", ...both)).code, 0);
  lab.equal("both together: drivers", [first.driver, second.driver], ["vfio-pci", "vfio-pci"]);
  lab.equal("restore of all: exit code", (await vdpactl("bind", "--restore")).code, 0);
  lab.equal("restore of all: drivers", [first.driver, second.driver], ["virtio-pci", "virtio-pci"]);
}

async function refuseInUse(lab: Lab, network: Device): Promise<void> {
  const link = await network.interface();
  await command("ip", "address", "add", "192.0.2.2/24", "dev", link);
  await command("ip", "link", "set", link, "up");
  await command("ip", "route", "add", "default", "via", "192.0.2.1");
  const refused = await vdpactl("bind", "--pci", network.bdf);
  lab.equal("in use: exit code", refused.code, REFUSED);
  lab.check("in use: names the interface", refused.stderr.includes(link), refused.stderr.trim());
  lab.equal("in use: keeps its driver", network.driver, "virtio-pci");
  lab.check(
    "in use: keeps its route",
    (await command("ip", "route")).includes(`default via 192.0.2.1 dev ${link}`),
  );

  // The root file system's disk, on the root bus.
  const root = "0000:00:03.0";
  lab.equal("mounted disk: exit code", (await vdpactl("bind", "--pci", root)).code, REFUSED);
  lab.check("mounted disk: is still there", existsSync(`/sys/bus/pci/drivers/virtio-pci/${root}`), root);
}

export default scenario({
  summary: "bind and back, rollback of the first when the second fails, refusal of devices in use",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "first" },
      { kind: "nic", name: "second" },
      { kind: "nic", name: "network" },
    ],
  },
  async run(lab) {
    await bindAndBack(lab, lab.device("first"));
    await rollBack(lab, lab.device("first"), lab.device("second"));
    await refuseInUse(lab, lab.device("network"));
    lab.equal("no such device: exit code", (await vdpactl("bind", "--pci", "0000:7f:00.0")).code, 3);
  },
});
