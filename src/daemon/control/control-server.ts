import { chmodSync, lstatSync, renameSync, rmSync, type Stats } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { peerCredentials } from "../../hw/ffi/unix-socket.ts";
import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import { ControlConnection } from "./control-connection.ts";
import type { ControlRequest } from "./protocol.ts";
import { makeRuntimeDirectory, socketPathOf } from "./runtime-directory.ts";

/** Clients at a time; further ones are turned away. */
export const CLIENTS_MAX = 32;

export interface ControlServerOptions {
  readonly directory: string;
  readonly log: Log;
  /** What a request is answered with, as plain data, or the error it ends in. */
  readonly carryOut: (request: ControlRequest) => Promise<unknown>;
}

/** The socket through which other vdpactl processes talk to this one. Runs on the main thread's event loop. */
export class ControlServer {
  readonly #connections = new Set<ControlConnection>();

  private constructor(
    readonly path: string,
    private readonly server: Server,
    private readonly file: Stats,
  ) {}

  /**
   * Listens as `<pid>.sock` in the directory, which is made where it is missing. The file takes its name once it has
   * its mode, so that nobody else can connect before.
   * @throws OperatorError when the directory can not be used, and whatever keeps the socket from being made
   */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    const { directory } = options;
    makeRuntimeDirectory(directory);
    const path = socketPathOf(directory, process.pid);
    const first = join(directory, `.${process.pid}.new`);
    rmSync(first, { force: true });
    let control: ControlServer | undefined;
    const server = createServer({ allowHalfOpen: true }, (socket) => control?.admit(socket, options));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(first, resolve);
    });
    server.on("error", (error) =>
      options.log.warn(`the control socket: ${messageOf(error)}`, {
        event: "control_socket_failed",
        error: messageOf(error),
      }),
    );
    try {
      chmodSync(first, 0o600);
      renameSync(first, path);
      control = new ControlServer(path, server, lstatSync(path));
    } catch (error) {
      server.close();
      rmSync(first, { force: true });
      throw error;
    }
    // It is no reason for the process to stay.
    server.unref();
    return control;
  }

  /** Ends all connections and removes the socket. */
  close(): void {
    this.server.close();
    for (const connection of [...this.#connections]) connection.close();
    try {
      const now = lstatSync(this.path);
      if (now.ino === this.file.ino && now.dev === this.file.dev) rmSync(this.path, { force: true });
    } catch {
      // It is gone, which is what was wanted.
    }
  }

  private admit(socket: Socket, { log, carryOut }: ControlServerOptions): void {
    const refusal = this.#connections.size >= CLIENTS_MAX ? "too many clients" : strangerProblem(socket);
    if (refusal) {
      socket.on("error", () => {});
      socket.destroy();
      log.warn(`a client of the control socket was turned away: ${refusal}`, {
        event: "control_client_refused",
        reason: refusal,
      });
      return;
    }
    const connection = new ControlConnection(socket, carryOut, () => this.#connections.delete(connection));
    this.#connections.add(connection);
  }
}

/** Why a client may not talk to us: only root and the daemon's own user may. */
function strangerProblem(socket: Socket): string | undefined {
  const fd = (socket as { _handle?: { fd?: unknown } })._handle?.fd;
  if (typeof fd !== "number" || fd < 0) return "its user is not known";
  try {
    const { uid, pid } = peerCredentials(fd);
    return uid === 0 || uid === process.getuid!() ? undefined : `process ${pid} runs as user ${uid}`;
  } catch (error) {
    return `its user is not known: ${messageOf(error)}`;
  }
}
