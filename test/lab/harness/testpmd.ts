// DPDK's testpmd, driven by its prompt.
import { Program } from "./program.ts";
import { until } from "./until.ts";

export type ForwardMode = "io" | "mac" | "macswap" | "txonly" | "rxonly" | "icmpecho";

export interface TestpmdOptions {
  name: string;
  /** Virtual devices such as "net_vhost0,iface=/tmp/s,queues=1". */
  vdevs?: string[];
  /** PCI devices on vfio-pci that its own drivers take. */
  pci?: string[];
  pairs?: number;
  forward: ForwardMode;
  /** More arguments of testpmd itself. */
  extra?: string[];
  /** "hugepages" (default) or DPDK's --no-huge or --in-memory. */
  memory?: "hugepages" | "no-huge" | "in-memory";
}

export interface PortStats {
  rx_packets: number;
  rx_missed: number;
  rx_errors: number;
  rx_nombuf: number;
  tx_packets: number;
  tx_errors: number;
}

const MEMORY: Record<NonNullable<TestpmdOptions["memory"]>, string[]> = {
  hugepages: ["--single-file-segments"],
  "no-huge": ["--no-huge"],
  "in-memory": ["--in-memory", "--single-file-segments"],
};

const PROMPT = /testpmd> $/;

export class Testpmd {
  private constructor(readonly program: Program) {}

  /** Starts it and waits for its prompt. Nothing is forwarded yet. */
  static async start(options: TestpmdOptions): Promise<Testpmd> {
    const pairs = String(options.pairs ?? 1);
    const devices = [
      ...(options.vdevs ?? []).flatMap((vdev) => ["--vdev", vdev]),
      ...(options.pci === undefined ? ["--no-pci"] : options.pci.flatMap((bdf) => ["-a", bdf])),
    ];
    const program = new Program(options.name, [
      // Otherwise what it prints waits in a buffer while the prompt does not.
      ...["stdbuf", "-oL", "dpdk-testpmd", "-l", "0,1", `--file-prefix=${options.name}`, "--no-telemetry"],
      ...["-m", "128", ...MEMORY[options.memory ?? "hugepages"], ...devices],
      ...["--", "-i", "--total-num-mbufs=4096", `--rxq=${pairs}`, `--txq=${pairs}`],
      ...[`--forward-mode=${options.forward}`, ...(options.extra ?? [])],
    ]);
    await program.stdout.expect(PROMPT);
    return new Testpmd(program);
  }

  /** What it printed in answer. */
  async run(line: string): Promise<string> {
    const stream = this.program.stdout;
    stream.skip();
    const from = stream.text.length;
    this.program.send(line + "\n");
    await stream.expect(PROMPT);
    return stream.text.slice(from);
  }

  async stats(port = 0): Promise<PortStats> {
    const text = await this.run(`show port stats ${port}`);
    const number = (label: string) => {
      const found = text.match(new RegExp(`${label}:\\s+(\\d+)`))?.[1];
      if (found === undefined) throw new Error(`testpmd shows no ${label}: ${text}`);
      return Number(found);
    };
    return {
      rx_packets: number("RX-packets"),
      rx_missed: number("RX-missed"),
      rx_errors: number("RX-errors"),
      rx_nombuf: number("RX-nombuf"),
      tx_packets: number("TX-packets"),
      tx_errors: number("TX-errors"),
    };
  }

  /** Frames received or sent by each queue. */
  async perQueue(direction: "rx" | "tx", port = 0): Promise<number[]> {
    const text = await this.run(`show port xstats ${port}`);
    const counts: number[] = [];
    for (const [, queue, count] of text.matchAll(
      new RegExp(`${direction}_q(\\d+)_?(?:good_)?packets: (\\d+)`, "g"),
    )) {
      counts[Number(queue)] = Number(count);
    }
    return counts;
  }

  /** Leaves by its own command, so that it releases its devices. Returns the exit code. */
  async quit(): Promise<number> {
    if (this.program.alive) this.program.send("quit\n");
    await until(`${this.program.name} to leave`, () => !this.program.alive);
    return this.program.exited;
  }
}
