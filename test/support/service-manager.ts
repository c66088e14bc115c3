import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { datagramAddress } from "../../src/hw/ffi/datagram.ts";
import { checked } from "../../src/hw/ffi/errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK } from "../../src/hw/ffi/fd.ts";
import { receiveWithFds } from "../../src/hw/ffi/fd-passing.ts";
import { libc } from "../../src/hw/ffi/libc.ts";
import { eventually } from "./front-end/wait.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;

export interface ReceivedNotice {
  readonly variables: Readonly<Record<string, string>>;
  /** The receiver's to close; `close` of the manager does. */
  readonly fds: readonly number[];
}

/** Plays the service manager: the socket of NOTIFY_SOCKET, and what was sent there. */
export class ReceivingManager {
  readonly address: string;
  readonly #directory = mkdtempSync(join(tmpdir(), "vdpactl-notify-"));
  readonly #fd: number;
  readonly #notices: ReceivedNotice[] = [];

  constructor(abstract = false) {
    this.address = abstract ? `@${this.#directory}` : join(this.#directory, "notify");
    this.#fd = checked(libc.socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC | O_NONBLOCK, 0), "socket");
    const to = datagramAddress(this.address);
    checked(libc.bind(this.#fd, to, to.length), "bind", this.address);
  }

  /** All that came so far, oldest first. */
  get notices(): readonly ReceivedNotice[] {
    const into = new Uint8Array(new ArrayBuffer(65_536));
    for (let got = receiveWithFds(this.#fd, into); got; got = receiveWithFds(this.#fd, into)) {
      const lines = Buffer.from(into.subarray(0, got.bytes)).toString("utf8").split("\n");
      const variables = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
      this.#notices.push({ variables, fds: got.fds });
    }
    return this.#notices;
  }

  /** How many set a variable. */
  count(name: string): number {
    return this.notices.filter(({ variables }) => name in variables).length;
  }

  /** Waits for a notice with these variables, whichever else it has. */
  received(wanted: Readonly<Record<string, string>>, ms: number): Promise<ReceivedNotice> {
    const fits = ({ variables }: ReceivedNotice) =>
      Object.entries(wanted).every(([name, value]) => variables[name] === value);
    return eventually(() => this.notices.find(fits), ms, `notice ${JSON.stringify(wanted)}`);
  }

  close(): void {
    for (const { fds } of this.notices) for (const fd of fds) closeFd(fd);
    closeFd(this.#fd);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
