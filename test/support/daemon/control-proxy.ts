import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/**
 * Stands between clients and a daemon's control socket. It tells what they ask for, and keeps answers back, so that a
 * client is where a test wants it for as long as that wants.
 */
export class ControlProxy {
  /** What clients find instead of the daemon's runtime directory. */
  readonly directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
  /** The operations that were asked for, in their order. */
  readonly asked: string[] = [];
  readonly #waiting = new Map<string, () => void>();
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {}

  /** @param path the daemon's control socket */
  static async listen(path: string): Promise<ControlProxy> {
    const server = createServer((client) => proxy.#join(client, connect(path)));
    const proxy = new ControlProxy(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(join(proxy.directory, basename(path)), resolve);
    });
    return proxy;
  }

  /** Resolves once a client has asked for this, of which it gets no answer; the daemon gets it all the same. */
  keepBack(op: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(op, resolve));
  }

  close(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #join(client: Socket, daemon: Socket): void {
    let rest = "";
    let mute = false;
    client.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + String(text)).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { op } = JSON.parse(line) as { op: string };
        const kept = this.#waiting.get(op);
        this.asked.push(op);
        mute ||= kept !== undefined;
        daemon.write(`${line}\n`, () => kept?.());
        this.#waiting.delete(op);
      }
    });
    daemon.on("data", (bytes) => mute || client.write(bytes));
    for (const [socket, other] of [
      [client, daemon],
      [daemon, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
