// Numbered frames from the peer's end of the wire, which a DPDK application returns for as long as the scenario wants.
import { join } from "node:path";
import type { Peer } from "./network.ts";
import type { FrameCounts } from "./numbered-frames.ts";
import { Program } from "./program.ts";
import { TimedOut, until } from "./until.ts";

export type { FrameCounts } from "./numbered-frames.ts";

export class FrameStream {
  private constructor(readonly program: Program) {}

  /** @param window frames on their way at a time */
  static async start(peer: Peer, window: number): Promise<FrameStream> {
    const source = join(import.meta.dir, "frame-source.ts");
    const argv = peer.argv("bun", source, peer.link, String(window));
    const stream = new FrameStream(new Program("frame-source", argv));
    await stream.program.stdout.expect(/^ready\n/m);
    return stream;
  }

  counts(): Promise<FrameCounts> {
    return this.#ask("counts");
  }

  /** Waits until so many more have come back; the counts then. The pause is the longest of all that time. */
  async passes(frames: number): Promise<FrameCounts> {
    const before = await this.#ask("go");
    let { pause_us } = before;
    const counts = await until(`${frames} frames to come back`, async () => {
      const now = await this.counts();
      pause_us = Math.max(pause_us, now.pause_us);
      return now.received >= before.received + frames && now;
    });
    return { ...counts, pause_us };
  }

  /** Sends no more and waits for what is on its way, as long as it comes. */
  async rest(): Promise<FrameCounts> {
    await this.#ask("rest");
    try {
      return await until(
        "the last frames to be back",
        async () => {
          const now = await this.counts();
          return now.received + now.lost === now.sent && now;
        },
        20,
      );
    } catch (error) {
      // A frame lost is a failed check, not a failed wait.
      if (!(error instanceof TimedOut)) throw error;
      return this.#ask("give up");
    }
  }

  async stop(): Promise<void> {
    await this.program.stop();
  }

  async #ask(line: string): Promise<FrameCounts> {
    this.program.send(line + "\n");
    return JSON.parse((await this.program.stdout.expect(/^\{.*\}\n/m))[0]) as FrameCounts;
  }
}
