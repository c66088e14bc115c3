import { Worker } from "node:worker_threads";
import type { Region } from "../../support/front-end/guest-memory.ts";
import { eventually } from "../../support/front-end/wait.ts";
import { ONCE_MS } from "./daemon.ts";

/** A field of guest memory that takes these values in turn, as fast as a thread can write them. */
export interface Flip {
  readonly gpa: bigint;
  readonly bytes: 2 | 4;
  readonly values: readonly number[];
}

interface Placed extends Pick<Flip, "bytes" | "values"> {
  readonly fd: number;
  readonly mapOffset: number;
  readonly mapSize: number;
  /** Byte in the map. */
  readonly at: number;
}

export interface FlipperData {
  readonly state: SharedArrayBuffer;
  readonly flips: readonly Placed[];
}

/** A thread of the guest's that changes fields all the time. */
export class Flipper {
  readonly #words: Int32Array;
  readonly #ended: Promise<void>;

  private constructor(data: FlipperData) {
    this.#words = new Int32Array(data.state);
    const worker = new Worker(new URL("./flipper-worker.ts", import.meta.url), { workerData: data });
    this.#ended = new Promise((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
  }

  static async start(regions: readonly Region[], flips: readonly Flip[]): Promise<Flipper> {
    const placed = flips.map(({ gpa, bytes, values }): Placed => {
      const region = regions.find(
        ({ description }) => gpa >= description.gpa && gpa < description.gpa + description.size,
      )!;
      const { description, fd } = region;
      return {
        fd,
        mapOffset: Number(description.mmapOffset),
        mapSize: Number(description.size),
        at: Number(gpa - description.gpa),
        bytes,
        values,
      };
    });
    const flipper = new Flipper({ state: new SharedArrayBuffer(8), flips: placed });
    await eventually(() => flipper.laps > 0, ONCE_MS, "the flipping thread");
    return flipper;
  }

  /** How often every field has been written. */
  get laps(): number {
    return Atomics.load(this.#words, 1);
  }

  async stop(): Promise<void> {
    Atomics.store(this.#words, 0, 1);
    await this.#ended;
  }
}
