// `bind --persist`: whenever the device appears, udev gives it to vfio-pci, until it is restored.
import { existsSync, writeFileSync } from "node:fs";
import { command } from "../harness/command.ts";
import type { Device } from "../harness/device.ts";
import type { Lab } from "../harness/lab.ts";
import { until } from "../harness/until.ts";
import { type Service, visit } from "./service.ts";

interface Bound {
  devices: { driver_before: string; driver_after: string; persistent: boolean }[];
}

const bind = async (...args: string[]) => JSON.parse(await command("vdpactl", "bind", "--json", ...args));

/** udev has done all that there was to do. */
const settled = () => command("udevadm", "settle");

/** Takes the device out of the machine and puts it back, as the kernel sees it. */
async function rescan(device: Device): Promise<void> {
  await command("udevadm", "control", "--reload");
  writeFileSync(`${device.sysfs}/remove`, "1");
  await until("the device to go", () => !existsSync(device.sysfs));
  writeFileSync("/sys/bus/pci/rescan", "1");
  await until("the device to come back", () => existsSync(device.sysfs));
  await settled();
}

/** What a boot does: udev is told of every device, which by then the kernel's own driver has. */
async function coldPlug(device: Device): Promise<void> {
  await device.handTo("virtio-pci");
  writeFileSync(`${device.sysfs}/driver_override`, "\n");
  await command("systemctl", "restart", "systemd-udev-trigger.service");
  await settled();
}

export async function checkPersistent(lab: Lab, { device, unit, socket }: Service): Promise<void> {
  const rule = `/etc/udev/rules.d/60-vdpactl-${device.bdf}.rules`;
  await bind("--restore", device.bdf);
  const { steps } = (await bind("--persist", "--dry-run", device.bdf)) as { steps: { kind: string }[] };
  lab.equal("persist, dry run: the last step", steps.at(-1)?.kind, "rule");
  lab.check("persist, dry run: nothing is written", !existsSync(rule));

  const { devices } = (await bind("--persist", "--owner", "nobody:", device.bdf)) as Bound;
  lab.equal("persist: its report", [devices[0]?.driver_after, devices[0]?.persistent], ["vfio-pci", true]);
  lab.equal(
    "persist: systemd-udevd accepts the rule",
    await command("udevadm", "verify", "--no-summary", rule),
    "",
  );
  await rescan(device);
  lab.equal("persist: after a rescan the driver is", device.driver, "vfio-pci");
  await until("the group's node", () => existsSync(`/dev/vfio/${device.group}`));
  await settled();
  const owner = (await command("stat", "-c", "%U", `/dev/vfio/${device.group}`)).trim();
  lab.equal("persist: and its node belongs to", owner, "nobody");
  await coldPlug(device);
  lab.equal("persist: after udev's work at boot the driver is", device.driver, "vfio-pci");
  await unit.start();
  await visit(unit, { socketPath: socket });
  await command("udevadm", "trigger", "--action=add", "--settle", device.sysfs);
  await visit(unit, { socketPath: socket });
  lab.equal("persist: udev leaves a device alone that is served", device.driver, "vfio-pci");
  await unit.stop();

  await bind("--driver", "virtio-pci", device.bdf);
  await settled();
  lab.equal("another driver for now: udev leaves it", device.driver, "virtio-pci");
  await bind("--restore", device.bdf);
  lab.check("restore: the rule is gone", !existsSync(rule));
  await rescan(device);
  lab.equal("restore: after a rescan the driver is", device.driver, "virtio-pci");
  const said = await command("journalctl", "--no-pager", "-o", "cat", "-u", "systemd-udevd", "-p", "warning");
  lab.equal(
    "udev's complaints",
    said.split("\n").filter((line) => line.includes("vdpactl")),
    [],
  );
  await bind("--persist", device.bdf);
}
