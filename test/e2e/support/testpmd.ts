import { type ChildProcess, spawn } from "node:child_process";
import { eventually } from "../../support/front-end/wait.ts";
import { ONCE_MS } from "./daemon.ts";

export interface TestpmdOptions {
  /** The port, for example `net_vhost0,iface=PATH`. */
  readonly vdev: string;
  readonly queues: number;
  /** Forwarding mode of the port to itself. */
  readonly forward: "macswap" | "txonly" | "rxonly" | "io" | "flowgen";
  readonly args?: readonly string[];
  /** Command that starts the forwarding (`start`). */
  readonly start?: string;
}

/** Totals of testpmd's port 0. */
export interface PortStats {
  readonly rx: number;
  readonly tx: number;
}

let started = 0;

/** DPDK's testpmd with one port and without hugepages, root or a terminal's size; driven by its prompt. */
export class Testpmd {
  #text = "";
  readonly #exit: Promise<number>;
  #ended = false;

  private constructor(readonly child: ChildProcess) {
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        this.#text += text;
      });
    }
    this.#exit = new Promise((done) => {
      const end = (code: number) => {
        this.#ended = true;
        done(code);
      };
      child.on("close", (code) => end(code ?? 128));
      child.on("error", (error) => {
        this.#text += `${error.message} (Debian has dpdk-testpmd in dpdk-dev)`;
        end(127);
      });
    });
  }

  /** Starts one and waits for its prompt. */
  static async start({
    vdev,
    queues,
    forward,
    args = [],
    start = "start",
  }: TestpmdOptions): Promise<Testpmd> {
    const prefix = `vdpactl-${process.pid}-${started++}`;
    const child = spawn(
      // Otherwise what it prints waits in a buffer while the prompt does not.
      "stdbuf",
      [
        ...["-oL", "dpdk-testpmd"],
        ...["-l", "0,1", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry"],
        ...[`--file-prefix=${prefix}`, `--vdev=${vdev}`, "--", "-i"],
        ...["--total-num-mbufs=8192", "--nb-cores=1", `--rxq=${queues}`, `--txq=${queues}`],
        ...["--rxd=256", "--txd=256", `--forward-mode=${forward}`, ...args],
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const testpmd = new Testpmd(child);
    try {
      await testpmd.#prompt(0);
      await testpmd.command(start);
    } catch (error) {
      child.kill("SIGKILL");
      throw new Error(testpmd.#text, { cause: error });
    }
    return testpmd;
  }

  /** Runs a command of its prompt and returns what it printed. */
  async command(line: string): Promise<string> {
    const mark = this.#text.length;
    this.child.stdin!.write(line + "\n");
    await this.#prompt(mark);
    return this.#text.slice(mark);
  }

  async stats(): Promise<PortStats> {
    const text = await this.command("show port stats 0");
    const number = (name: string) =>
      Number(new RegExp(`${name}-packets:\\s+(\\d+)`).exec(text)?.[1] ?? Number.NaN);
    return { rx: number("RX"), tx: number("TX") };
  }

  async stop(): Promise<number> {
    if (!this.#ended) this.child.stdin!.write("quit\n");
    const late = setTimeout(() => this.child.kill("SIGKILL"), ONCE_MS);
    const code = await this.#exit;
    clearTimeout(late);
    return code;
  }

  async #prompt(mark: number): Promise<void> {
    await eventually(
      () => {
        if (this.#ended) throw new Error("testpmd ended");
        return this.#text.slice(mark).includes("testpmd> ");
      },
      ONCE_MS,
      "testpmd's prompt",
    );
  }
}
