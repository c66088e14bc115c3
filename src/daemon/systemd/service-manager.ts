import { sendDatagram } from "../../hw/ffi/datagram.ts";
import type { Log } from "../../hw/log.ts";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";

/** Variables of a message, as sd_notify(3) knows them: `READY`, `STATUS`, `WATCHDOG`, `FDSTORE`, … */
export type Notice = Readonly<Record<string, string | number>>;

/** The name under which the service manager keeps the listening socket for us. */
export const KEPT_SOCKET = "vdpactl-listen";

/** The way to the service manager that started this process. Where none did, nothing is sent. */
export class ServiceManager {
  #complained = false;

  /** @param address `NOTIFY_SOCKET`, as `addressOf` gives it */
  constructor(
    readonly address: string | undefined,
    private readonly log: Log,
  ) {}

  /** Tells it something. A manager that can not be reached is no reason to stop serving: that is one warning. */
  tell(notice: Notice, fds: readonly number[] = []): void {
    if (this.address === undefined) return;
    try {
      sendDatagram(this.address, noticeText(notice), fds);
      this.#complained = false;
    } catch (error) {
      if (!this.#complained)
        this.log.warn(`the service manager was not told: ${messageOf(error)}`, {
          event: "service_manager_untold",
          error: messageOf(error),
        });
      this.#complained = true;
    }
  }

  /** Gives it an fd to keep across restarts of the service (it does with `FileDescriptorStoreMax=`). */
  keep(fd: number, name: string): void {
    this.tell({ FDSTORE: 1, FDNAME: name }, [fd]);
  }

  /** Has it drop what it keeps under a name. */
  drop(name: string): void {
    this.tell({ FDSTOREREMOVE: 1, FDNAME: name });
  }
}

/**
 * @returns where the manager listens, a path or `@` and an abstract name; undefined when no manager started us
 * @throws OperatorError (usage) for another kind of address
 */
export function addressOf(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const address = env["NOTIFY_SOCKET"];
  if (!address) return undefined;
  if (/^[/@]./.test(address)) return address;
  throw new OperatorError(`NOTIFY_SOCKET is "${address}"`, {
    why: "the service manager's socket is a path or begins with @",
    kind: "usage",
  });
}

/** One `NAME=value` per line, so a value has none of its own. */
const noticeText = (notice: Notice) =>
  Object.entries(notice)
    .map(([name, value]) => `${name}=${String(value).replaceAll(/\s+/g, " ")}`)
    .join("\n");
