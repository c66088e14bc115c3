import { existsSync, readFileSync } from "node:fs";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { Meeting } from "./messages.ts";
import type { PassedSocket } from "./systemd/passed-sockets.ts";
import { KEPT_SOCKET, type ServiceManager } from "./systemd/service-manager.ts";

/** The flags that say where the front-end is met, as the operator gave them. */
export interface MeetingOptions {
  readonly socket: string | undefined;
  readonly fd: number | undefined;
  readonly client: boolean;
  readonly "socket-mode": number | undefined;
  readonly "socket-owner": string | undefined;
  readonly "socket-group": string | undefined;
  readonly "keep-socket": boolean;
}

/**
 * @param passed sockets of the service manager: the one that is bound to `--socket` is used, or without that flag the
 *   only one that a socket unit has opened
 * @throws OperatorError (usage) for flags that do not go together and users that do not exist
 */
export function meetingOf(options: MeetingOptions, passed: readonly PassedSocket[] = []): Meeting {
  const { socket, client } = options;
  const activated = passed.filter(({ name }) => name !== KEPT_SOCKET);
  if (socket === undefined && activated.length > 1) {
    throw usage(
      "which socket is to be used?",
      `the service manager passed ${activated.map(({ name }) => name).join(", ")}`,
    );
  }
  const fd = options.fd ?? (socket === undefined && !client ? activated[0]?.fd : undefined);
  const access = ["socket-mode", "socket-owner", "socket-group"] as const;
  const given = access.filter((name) => options[name] !== undefined);
  if ((socket === undefined) === (fd === undefined)) {
    throw usage(
      "where is the front-end?",
      socket ? "--socket and --fd exclude each other" : "--socket is missing",
    );
  }
  if (fd !== undefined) {
    const useless = [
      ...(client ? ["client"] : []),
      ...given,
      ...(options["keep-socket"] ? ["keep-socket"] : []),
    ][0];
    if (useless) throw usage(`--${useless} has no meaning with --fd`, "the socket exists already");
    return { role: "fd", fd };
  }
  if (client) {
    const useless = given[0] ?? (options["keep-socket"] ? "keep-socket" : undefined);
    if (useless) throw usage(`--${useless} has no meaning with --client`, "the front-end makes the socket");
    return { role: "client", path: socket! };
  }
  const mode = options["socket-mode"];
  const owner = options["socket-owner"];
  const group = options["socket-group"];
  // A file that was removed leads nobody to its socket any more.
  const inherited = existsSync(socket!) ? passed.find(({ path }) => path === socket) : undefined;
  const ofUnit = inherited !== undefined && inherited.name !== KEPT_SOCKET;
  return {
    role: "server",
    path: socket!,
    // The file of a socket unit's socket is the manager's to remove.
    keep: options["keep-socket"] || ofUnit,
    store: options["keep-socket"] && !ofUnit,
    ...(inherited && { inherited: inherited.fd }),
    ...(mode !== undefined && { mode }),
    ...(owner !== undefined && { uid: idOf(owner, "/etc/passwd", "user") }),
    ...(group !== undefined && { gid: idOf(group, "/etc/group", "group") }),
  };
}

/**
 * Closes passed sockets that no device uses, with a warning, and has the service manager drop those that it kept for
 * us.
 */
export function discardUnused(
  passed: readonly PassedSocket[],
  meetings: readonly Meeting[],
  manager: ServiceManager,
  log: Log,
): void {
  const used = new Map(meetings.map((meeting) => [passedFdOf(meeting), meeting]));
  const unused = passed.filter(({ fd }) => !used.has(fd));
  for (const { fd, name, path } of unused) {
    closeFd(fd);
    if (name !== KEPT_SOCKET) {
      log.warn(`the passed socket "${name}"${path === undefined ? "" : ` (${path})`} is not used`, {
        event: "passed_socket_unused",
        socket: name,
        path,
      });
    }
  }
  if (!unused.some(({ name }) => name === KEPT_SOCKET)) return;
  manager.drop(KEPT_SOCKET);
  // They share the name, so that those that are in use went with them.
  for (const [fd, meeting] of used) {
    if (fd !== undefined && meeting.role === "server" && meeting.store) manager.keep(fd, KEPT_SOCKET);
  }
}

/** The socket of the service manager that it uses. */
export function passedFdOf(meeting: Meeting): number | undefined {
  if (meeting.role === "fd") return meeting.fd;
  return meeting.role === "server" ? meeting.inherited : undefined;
}

const usage = (what: string, why: string) =>
  new OperatorError(what, { why, remedy: "vdpactl serve --help", kind: "usage" });

/** The number of a user or group given by name or number. */
function idOf(given: string, file: string, kind: "user" | "group"): number {
  if (/^\d+$/.test(given)) return Number(given);
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [name, , id] = line.split(":");
    if (name === given) return Number(id);
  }
  throw usage(`there is no ${kind} "${given}"`, `it is not in ${file}`);
}
