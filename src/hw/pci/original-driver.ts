import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "../ffi/errno.ts";
import { messageOf, OperatorError } from "../operator-error.ts";
import { HOST, type Host } from "./host.ts";
import { needsRoot } from "./needs-root.ts";
import { writeWholeFile } from "./whole-file.ts";

/** What a device was bound to before vdpactl took it. */
export interface OriginalDriver {
  /** Undefined for none. */
  readonly driver: string | undefined;
  readonly driver_override: string | undefined;
}

const directoryOf = (host: Host) => join(host.run, "vdpactl/drivers");
const pathOf = (bdf: string, host: Host) => join(directoryOf(host), `${bdf}.json`);

// What is remembered is no secret, and a dry run of any user's needs it.
const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o644;

/** Remembers a device's driver until the next boot, one file for each device so that two calls never collide. */
export function rememberDriver(bdf: string, original: OriginalDriver, host: Host = HOST): void {
  const text = JSON.stringify({
    driver: original.driver ?? null,
    driver_override: original.driver_override ?? null,
  });
  try {
    makeDirectory(host);
    writeWholeFile(pathOf(bdf, host), `${text}\n`, FILE_MODE);
  } catch (error) {
    throw new OperatorError(`cannot remember the driver of ${bdf}`, {
      why: messageOf(error),
      remedy: `make ${directoryOf(host)} writable`,
      cause: error,
    });
  }
}

/** Makes the directory readable whatever the umask is, and where it is there with less than that. */
function makeDirectory(host: Host): void {
  // The daemon's control sockets lie in the one above: where that is there already, its mode stays.
  const made = mkdirSync(join(host.run, "vdpactl"), { mode: DIRECTORY_MODE, recursive: true });
  if (made !== undefined) chmodSync(join(host.run, "vdpactl"), DIRECTORY_MODE);
  mkdirSync(directoryOf(host), { mode: DIRECTORY_MODE, recursive: true });
  chmodSync(directoryOf(host), DIRECTORY_MODE);
}

/**
 * What was remembered; undefined when nothing was.
 * @throws OperatorError: not-ready (this user may not know), failed (what is there makes no sense)
 */
export function originalDriver(bdf: string, host: Host = HOST): OriginalDriver | undefined {
  let text: string;
  try {
    text = readFileSync(pathOf(bdf, host), "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    if (isErrno(error, "EACCES", "EPERM"))
      throw needsRoot(`cannot read what ${bdf} was bound to`, `read ${pathOf(bdf, host)}`, error);
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

/**
 * Addresses of all devices whose driver is remembered, in their order.
 * @throws OperatorError (not-ready) where this user may not know
 */
export function rememberedDevices(host: Host = HOST): string[] {
  const directory = directoryOf(host);
  try {
    return readdirSync(directory)
      .sort()
      .flatMap((name) => /^(.+)\.json$/.exec(name)?.[1] ?? []);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    if (!isErrno(error, "EACCES", "EPERM")) throw error;
    throw needsRoot("cannot read which devices are away from their first driver", `read ${directory}`, error);
  }
}

/** The name becomes a path in sysfs, so nothing else may pass. */
const isDriverName = (name: unknown): name is string | null =>
  name === null || (typeof name === "string" && /^[\w.-]{1,64}$/.test(name) && !/^\.+$/.test(name));

const unreadable = (bdf: string, why: string, host: Host) =>
  new OperatorError(`cannot read what ${bdf} was bound to`, {
    why: `${pathOf(bdf, host)}: ${why}`,
    remedy: `remove that file and name the driver: vdpactl bind --driver virtio-pci ${bdf}`,
  });
