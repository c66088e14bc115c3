// The service as an operator sets it up: from the example, with a front-end, and what systemd says of it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { passFrames } from "../../e2e/support/well-behaved.ts";
import type { Channel } from "../../support/front-end/channel.ts";
import { connectGuest } from "../../support/front-end/guest.ts";
import { attempt, command } from "../harness/command.ts";
import type { Device } from "../harness/device.ts";
import type { Lab } from "../harness/lab.ts";
import { Unit } from "../harness/unit.ts";
import { until } from "../harness/until.ts";

const EXAMPLE = "/usr/share/doc/vdpactl/examples/nic.toml";
const FRAMES = 64;

export const settingsOf = (device: Device) => `/etc/vdpactl/${device.bdf}.toml`;
export const socketOf = (device: Device) => `/run/vdpactl/${device.bdf}/vhost.sock`;

export const serving = (socket: string) => `serving a front-end at socket=${socket}`;

export interface Service {
  device: Device;
  unit: Unit;
  socket: string;
}

/**
 * A front-end comes, by a socket or as a connection that exists, passes frames and leaves.
 * @returns the unit's status while it is there
 */
export async function visit(
  unit: Unit,
  how: { socketPath: string } | { channel: Channel },
  during: () => Promise<void> = async () => {},
): Promise<string> {
  const guest = await connectGuest({ ...how, ringSize: 64 });
  try {
    await passFrames(guest, { frames: FRAMES });
    const status = await until("systemd to hear of the front-end", async () => {
      const text = await unit.show("StatusText");
      return text.startsWith("serving") && text;
    });
    await during();
    await guest.stop();
    return status;
  } finally {
    guest.close();
  }
}

/** @param peer resolves when frames are returned */
export async function checkService(lab: Lab, device: Device, peer: Promise<unknown>): Promise<Service> {
  const socket = socketOf(device);
  const unit = new Unit(`vdpactl@${device.bdf}.service`);
  lab.equal("no settings: the service does not start", await startCode(unit), 1);
  writeFileSync(settingsOf(device), readFileSync(EXAMPLE, "utf8").replaceAll("0000:00:04.0", device.bdf));
  await unit.start();
  lab.equal("start: the unit is active once the start returns", await unit.show("ActiveState"), "active");
  lab.equal(
    "start: its status",
    await unit.show("StatusText"),
    `waiting for a front-end at socket=${socket}`,
  );
  lab.equal("start: the device is bound", device.driver, "vfio-pci");
  lab.equal("start: the listening socket is kept by systemd", await unit.show("NFileDescriptorStore"), "1");
  await peer;
  const status = await visit(unit, { socketPath: socket }, async () => {
    const [shown] = JSON.parse(await command("vdpactl", "stats", "--json")) as [
      { device: string; state: string; pid: number },
    ];
    lab.equal("front-end: stats finds it", [shown.device, shown.state], [device.bdf, "running"]);
    lab.equal("front-end: in the unit's process", shown.pid, await unit.pid());
  });
  lab.equal("front-end: frames return, and the status is", status, serving(socket));
  await command("systemctl", "reload", unit.name);
  await until("the reload to end", async () =>
    (await unit.journal()).includes("settings have been read again"),
  );
  lab.equal("reload: the unit is active again", await unit.settled(), "active");
  const security = await command("systemd-analyze", "security", "--no-pager", unit.name);
  const score = security.match(/Overall exposure level for .*: ([\d.]+) (\w+)/);
  lab.check(
    "hardening: what systemd scores the running service",
    Number(score?.[1]) < 4.5,
    score?.slice(1).join(" "),
  );
  lab.equal("no warning in its journal", warnings(await unit.journal()), []);
  await unit.stop();
  lab.equal(
    "stop: result and exit code",
    [await unit.show("Result"), await unit.show("ExecMainStatus")],
    ["success", "0"],
  );
  lab.equal("stop: the device stays at", device.driver, "vfio-pci");
  lab.check("stop: its runtime directory is gone", !existsSync(`/run/vdpactl/${device.bdf}`));
  const [record] = JSON.parse(await command("vdpactl", "probe", "--json", device.bdf)) as [{ state: string }];
  lab.equal("stop: nobody has the device open", record.state, "ready");
  await unit.start();
  lab.equal("started again: it serves", await visit(unit, { socketPath: socket }), serving(socket));
  return { device, unit, socket };
}

const startCode = async (unit: Unit) => (await attempt(["systemctl", "start", unit.name])).code;

/** The first attempt to start was meant to fail. */
const warnings = (journal: string) =>
  journal.split("\n").filter((line) => /warning|error|fail/i.test(line) && !/assert|Assert/.test(line));
