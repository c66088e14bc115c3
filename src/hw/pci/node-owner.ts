import { readFileSync } from "node:fs";
import { OperatorError } from "../operator-error.ts";

/** Whom a device node is given to; undefined parts stay as they are. */
export interface NodeOwner {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/**
 * Resolves `user:group`, `user` or `:group`, each a name or a number.
 * @throws OperatorError (usage) for names that this machine does not have
 */
export function parseNodeOwner(text: string, etc = "/etc"): NodeOwner {
  const [, user = "", group = ""] = /^([^:]*)(?::([^:]*))?$/.exec(text) ?? [];
  if (user === "" && group === "") throw unknown(text, "write user:group, user or :group");
  return {
    uid: user === "" ? undefined : idOf(user, "user", `${etc}/passwd`, "passwd"),
    gid: group === "" ? undefined : idOf(group, "group", `${etc}/group`, "group"),
  };
}

function idOf(name: string, what: string, file: string, database: string): number {
  if (/^\d{1,10}$/.test(name) && Number(name) < 2 ** 32 - 1) return Number(name);
  const id = entryId(readFileSync(file, "utf8"), name) ?? entryId(getent(database, name), name);
  if (id === undefined) throw unknown(name, `this machine has no ${what} "${name}"`);
  return id;
}

/** passwd(5) and group(5): the name is the first field, the number the third. */
function entryId(text: string, name: string): number | undefined {
  const entry = text.split("\n").find((line) => line.startsWith(`${name}:`));
  const id = Number(entry?.split(":")[2] || Number.NaN);
  return Number.isInteger(id) ? id : undefined;
}

/** Names that come from a directory service are known to the C library only. */
function getent(database: string, name: string): string {
  try {
    const { stdout } = Bun.spawnSync(["getent", database, "--", name], { stderr: "ignore", timeout: 5000 });
    return stdout.toString();
  } catch {
    return "";
  }
}

const unknown = (text: string, why: string) =>
  new OperatorError(`no such owner: "${text}"`, { why, kind: "usage" });
