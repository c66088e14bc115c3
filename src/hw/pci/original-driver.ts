import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "../ffi/errno.ts";
import { messageOf, OperatorError } from "../operator-error.ts";
import { HOST, type Host, listDirectory } from "./host.ts";
import { writeWholeFile } from "./whole-file.ts";

/** What a device was bound to before vdpactl took it. */
export interface OriginalDriver {
  /** Undefined for none. */
  readonly driver: string | undefined;
  readonly driver_override: string | undefined;
}

const directoryOf = (host: Host) => join(host.run, "vdpactl/drivers");
const pathOf = (bdf: string, host: Host) => join(directoryOf(host), `${bdf}.json`);

/** Remembers a device's driver until the next boot, one file for each device so that two calls never collide. */
export function rememberDriver(bdf: string, original: OriginalDriver, host: Host = HOST): void {
  const text = JSON.stringify({
    driver: original.driver ?? null,
    driver_override: original.driver_override ?? null,
  });
  try {
    mkdirSync(join(host.run, "vdpactl"), { mode: 0o755, recursive: true });
    mkdirSync(directoryOf(host), { mode: 0o700, recursive: true });
    writeWholeFile(pathOf(bdf, host), `${text}\n`, 0o600);
  } catch (error) {
    throw new OperatorError(`cannot remember the driver of ${bdf}`, {
      why: messageOf(error),
      remedy: `make ${directoryOf(host)} writable`,
      cause: error,
    });
  }
}

/** What was remembered; undefined when nothing was. */
export function originalDriver(bdf: string, host: Host = HOST): OriginalDriver | undefined {
  let text: string;
  try {
    text = readFileSync(pathOf(bdf, host), "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw unreadable(bdf, messageOf(error), host);
  }
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw unreadable(bdf, messageOf(error), host);
  }
  const { driver, driver_override } = (values ?? {}) as Record<string, unknown>;
  if (!isDriverName(driver) || !isDriverName(driver_override)) {
    throw unreadable(bdf, "it does not hold the names of a driver and an override", host);
  }
  return { driver: driver ?? undefined, driver_override: driver_override ?? undefined };
}

export function forgetDriver(bdf: string, host: Host = HOST): void {
  rmSync(pathOf(bdf, host), { force: true });
}

/** Addresses of all devices whose driver is remembered. */
export function rememberedDevices(host: Host = HOST): string[] {
  return listDirectory(directoryOf(host)).flatMap((name) => /^(.+)\.json$/.exec(name)?.[1] ?? []);
}

/** The name becomes a path in sysfs, so nothing else may pass. */
const isDriverName = (name: unknown): name is string | null =>
  name === null || (typeof name === "string" && /^[\w.-]{1,64}$/.test(name) && !/^\.+$/.test(name));

const unreadable = (bdf: string, why: string, host: Host) =>
  new OperatorError(`cannot read what ${bdf} was bound to`, {
    why: `${pathOf(bdf, host)}: ${why}`,
    remedy: `remove that file and name the driver: vdpactl bind --driver virtio-pci ${bdf}`,
  });
