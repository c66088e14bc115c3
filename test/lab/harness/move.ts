// A guest's way from one QEMU to the next.
import { Guest, type GuestOptions, type MigrationInfo } from "./guest.ts";
import type { Program } from "./program.ts";
import { until } from "./until.ts";

/** A vdpactl that serves a NIC, and where. */
export interface Station {
  daemon: Program;
  socket: string;
}

export interface Move {
  /** The guest at its destination. */
  guest: Guest;
  info: MigrationInfo;
  /** Exit code of the QEMU that it left. */
  left: number;
  /** In milliseconds of Unix time: QEMU was asked to, the guest stopped, went on at its destination, all was over. */
  began: number;
  stopped: number;
  resumed: number;
  ended: number;
}

/** The lines of the daemon's log on queues in a mode, oldest first. */
export function queueLines(daemon: Program, mode: "direct" | "relay"): string[] {
  return daemon.stderr.text.match(new RegExp(`^queue \\d+ \\w+ size \\d+ ${mode} .*$`, "gm")) ?? [];
}

let number = 0;

/** Options of a QEMU that waits for a guest to come from elsewhere. */
export function incoming(options: GuestOptions, { socket }: Station): GuestOptions & { incoming: string } {
  const name = `${options.name}-${++number}`;
  return { ...options, name, socket, incoming: `unix:/tmp/${name}.migration` };
}

/** Moves a guest that was started with `options` to a new QEMU at another station, and ends the old one. */
export async function move(source: Guest, options: GuestOptions, to: Station): Promise<Move> {
  const arriving = incoming(options, to);
  const guest = await Guest.boot(arriving);
  const began = Date.now();
  const info = await source.migrate(arriving.incoming);
  if (info.status !== "completed")
    throw new Error(`the migration ${info.status}: ${info["error-desc"] ?? ""}`);
  const at = (qemu: Guest, name: string) => qemu.qmp.events.findLast(({ event }) => event === name)?.time;
  const resumed = await until("the guest to run at its destination", () => at(guest, "RESUME"));
  const stopped = at(source, "STOP") ?? Number.NaN;
  return { guest, info, left: await source.quit(), began, stopped, resumed, ended: Date.now() };
}
