// A transfer that goes on for as long as the scenario wants: bytes from the peer to the guest and back again.
import { join } from "node:path";
import type { Guest } from "./guest.ts";
import type { Peer } from "./network.ts";
import { Program } from "./program.ts";
import { until } from "./until.ts";

const PORT = 7;

export interface EchoProgress {
  sent: number;
  /** Bytes that came back from the guest. */
  returned: number;
}

export interface EchoResult extends EchoProgress {
  sent_sha256: string;
  returned_sha256: string;
}

export class EchoStream {
  private constructor(readonly program: Program) {}

  /** The guest connects and returns all it gets. Resolves once bytes have come back. */
  static async start(peer: Peer, guest: Guest): Promise<EchoStream> {
    const server = join(import.meta.dir, "echo-server.ts");
    const argv = peer.argv("bun", server, peer.address, String(PORT));
    const stream = new EchoStream(new Program("echo-server", argv));
    await stream.program.stdout.expect(/listening\n/);
    await guest.run(`(nc ${peer.address} ${PORT} -e cat > /dev/null 2>&1 &)`);
    await until("bytes to come back", async () => (await stream.progress()).returned > 0);
    return stream;
  }

  async progress(): Promise<EchoProgress> {
    return JSON.parse(await this.#ask("progress")) as EchoProgress;
  }

  /** Waits until bytes come back that were sent after this was called. */
  async flows(): Promise<void> {
    const { sent } = await this.progress();
    await until("later bytes to come back", async () => (await this.progress()).returned > sent);
  }

  /** Sends no more and waits until the rest has come back. */
  async end(): Promise<EchoResult> {
    const result = JSON.parse(await this.#ask("end")) as EchoResult;
    await this.program.exited;
    return result;
  }

  async #ask(line: string): Promise<string> {
    this.program.send(line + "\n");
    return (await this.program.stdout.expect(/^\{.*\}\n/m))[0];
  }
}
