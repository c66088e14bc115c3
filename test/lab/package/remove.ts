// Removing the package stops what runs, purging leaves nothing.
import { existsSync } from "node:fs";
import { command } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";
import { apt, filesOnDisk } from "./install.ts";
import { type Service, settingsOf } from "./service.ts";

export async function checkRemoved(
  lab: Lab,
  { device, unit }: Service,
  before: ReadonlySet<string>,
): Promise<void> {
  await command("systemctl", "enable", "--now", unit.name);
  lab.equal("enabled: it runs", await unit.show("ActiveState"), "active");
  await apt("remove", "vdpactl");
  lab.equal("removed: the service has been stopped", await unit.show("ActiveState"), "inactive");
  lab.check("removed: the settings stay", existsSync(settingsOf(device)), settingsOf(device));
  await apt("purge", "vdpactl");
  const left = [...filesOnDisk()].filter((path) => !before.has(path));
  lab.equal("purged: files that are left", left, []);
  lab.equal(
    "purged: failed units",
    (await command("systemctl", "list-units", "--failed", "--no-legend", "vdpactl@*")).trim(),
    "",
  );
}
