import { existsSync, mkdirSync, readdirSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "../../hw/ffi/errno.ts";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";

/** Who asks; tests bring their own. */
export interface User {
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const currentUser = (): User => ({ uid: process.getuid!(), env: process.env });

/**
 * The directory in which running daemons have their control sockets.
 * @param given what the operator asked for instead of the usual place
 * @throws OperatorError (not-ready) for a user without a runtime directory
 */
export function runtimeDirectory(given: string | undefined, user = currentUser()): string {
  if (given !== undefined) return given;
  if (user.uid === 0) return "/run/vdpactl";
  const personal = user.env["XDG_RUNTIME_DIR"] || `/run/user/${user.uid}`;
  if (existsSync(personal)) return join(personal, "vdpactl");
  throw new OperatorError("there is no directory for control sockets", {
    why: `XDG_RUNTIME_DIR is not set and ${personal} does not exist`,
    remedy: "give one with --runtime-dir or VDPACTL_RUNTIME_DIR",
    kind: "not-ready",
  });
}

/** Makes the directory, for this user alone, where it is missing. */
export function makeRuntimeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700, recursive: true });
  } catch (error) {
    throw new OperatorError(`the runtime directory ${path} can not be made`, {
      why: messageOf(error),
      remedy: "choose another with --runtime-dir",
      kind: "not-ready",
      cause: error,
    });
  }
  checkRuntimeDirectory(path);
}

/** Refuses a directory in which somebody else could put sockets of their own. */
export function checkRuntimeDirectory(path: string, user = currentUser()): void {
  const stat = directoryAt(path);
  const why =
    stat.uid !== 0 && stat.uid !== user.uid
      ? `it belongs to user ${stat.uid}`
      : stat.mode & 0o022
        ? `others may write to it (mode 0${(stat.mode & 0o777).toString(8)})`
        : undefined;
  if (!why) return;
  throw new OperatorError(`the runtime directory ${path} is not safe to use`, {
    why,
    remedy: `chmod go-w ${path}, or choose another with --runtime-dir`,
    kind: "refused",
  });
}

const OTHER_DIRECTORY = "choose another one with --runtime-dir DIR";

function directoryAt(path: string): Stats {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) return stat;
  } catch (error) {
    throw new OperatorError(`the runtime directory ${path} can not be used`, {
      why: messageOf(error),
      remedy: OTHER_DIRECTORY,
      kind: "not-ready",
      cause: error,
    });
  }
  throw new OperatorError(`the runtime directory ${path} can not be used`, {
    why: "it is no directory",
    remedy: OTHER_DIRECTORY,
    kind: "not-ready",
  });
}

export const socketPathOf = (directory: string, pid: number) => join(directory, `${pid}.sock`);

/** The control sockets in a directory, by process id ascending. A directory that is missing has none. */
export function controlSockets(
  directory: string,
): readonly { readonly pid: number; readonly path: string }[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw new OperatorError(`the runtime directory ${directory} can not be read`, {
      why: messageOf(error),
      remedy: "run as the user that serves, or name the directory with --runtime-dir DIR",
      kind: "not-ready",
      cause: error,
    });
  }
  return names
    .flatMap((name) => /^([1-9]\d*)\.sock$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
    .map((pid) => ({ pid, path: socketPathOf(directory, pid) }));
}
