import { readFileSync } from "node:fs";
import { OperatorError } from "../hw/operator-error.ts";
import type { Meeting } from "./messages.ts";

/** The flags that say where the front-end is met, as the operator gave them. */
export interface MeetingOptions {
  readonly socket: string | undefined;
  readonly fd: number | undefined;
  readonly client: boolean;
  readonly "socket-mode": number | undefined;
  readonly "socket-owner": string | undefined;
  readonly "socket-group": string | undefined;
}

/** @throws OperatorError (usage) for flags that do not go together and users that do not exist */
export function meetingOf(options: MeetingOptions): Meeting {
  const { socket, fd, client } = options;
  const access = ["socket-mode", "socket-owner", "socket-group"] as const;
  const given = access.filter((name) => options[name] !== undefined);
  if ((socket === undefined) === (fd === undefined)) {
    throw usage(
      "where is the front-end?",
      socket ? "--socket and --fd exclude each other" : "--socket is missing",
    );
  }
  if (fd !== undefined) {
    const useless = [...(client ? ["client"] : []), ...given][0];
    if (useless) throw usage(`--${useless} has no meaning with --fd`, "the socket exists already");
    return { role: "fd", fd };
  }
  if (client) {
    if (given[0]) throw usage(`--${given[0]} has no meaning with --client`, "the front-end makes the socket");
    return { role: "client", path: socket! };
  }
  const mode = options["socket-mode"];
  const owner = options["socket-owner"];
  const group = options["socket-group"];
  return {
    role: "server",
    path: socket!,
    ...(mode !== undefined && { mode }),
    ...(owner !== undefined && { uid: idOf(owner, "/etc/passwd", "user") }),
    ...(group !== undefined && { gid: idOf(group, "/etc/group", "group") }),
  };
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
