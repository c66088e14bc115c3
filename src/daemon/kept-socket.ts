import { rmSync } from "node:fs";
import { closeFd } from "../hw/ffi/fd.ts";
import { KEPT_SOCKET, type ServiceManager } from "./systemd/service-manager.ts";

/** A listening socket that outlives the threads that serve it. */
export interface KeptSocket {
  readonly fd: number;
  readonly path: string;
  /** The service manager keeps it too. Otherwise it is a socket unit's. */
  readonly stored: boolean;
}

/**
 * Gives up the socket of a device that is served no more. A socket unit's stays open: it is there when the device comes
 * back.
 * @param others sockets of devices that stay
 */
export function giveUpSocket(
  { fd, path, stored }: KeptSocket,
  others: readonly KeptSocket[],
  manager: ServiceManager,
): void {
  if (!stored) return;
  closeFd(fd);
  rmSync(path, { force: true });
  manager.drop(KEPT_SOCKET);
  // They share the name, so that those that are in use went with it.
  for (const other of others) if (other.stored) manager.keep(other.fd, KEPT_SOCKET);
}
