// The socket unit: the service starts when a front-end comes, as often as one does.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connectUnix } from "../../../src/hw/ffi/unix-socket.ts";
import { Channel } from "../../support/front-end/channel.ts";
import type { Lab } from "../harness/lab.ts";
import { Unit } from "../harness/unit.ts";
import { until } from "../harness/until.ts";
import { type Service, settingsOf, visit } from "./service.ts";

export async function checkActivation(lab: Lab, { device, unit }: Service): Promise<void> {
  const settings = readFileSync(settingsOf(device));
  writeFileSync(settingsOf(device), "bind = true\n");
  const socket = `/run/vdpactl/${device.bdf}.sock`;
  const listening = new Unit(`vdpactl@${device.bdf}.socket`);
  await listening.start();
  lab.equal("socket unit: the service does not run yet", await unit.show("ActiveState"), "inactive");
  for (const time of ["first", "second"]) {
    const channel = new Channel(connectUnix(socket));
    await until("the service to start", async () => (await unit.show("ActiveState")) === "active");
    const status = await visit(unit, { channel });
    lab.equal(`socket unit: the ${time} front-end starts the service`, status, "serving a front-end at fd=3");
    await unit.stop();
    lab.check("socket unit: the socket stays when the service stops", existsSync(socket), socket);
  }
  await listening.stop();
  lab.check("socket unit: the socket goes with it", !existsSync(socket), socket);
  writeFileSync(settingsOf(device), settings);
}
