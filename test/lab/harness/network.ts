// The kernel's side of a wire: addresses, namespaces, pings.
import { attempt, command } from "./command.ts";
import type { Device } from "./device.ts";

/** A network interface of the VM's kernel in a namespace of its own, so that nothing short-cuts the wire. */
export class Peer {
  private constructor(
    readonly namespace: string,
    readonly link: string,
    readonly address: string,
  ) {}

  /** Moves the device's interface to namespace `name` and gives it `address` of a /24. */
  static async create(name: string, device: Device, address: string): Promise<Peer> {
    const own = await device.interface();
    await command("ip", "netns", "add", name);
    await command("ip", "link", "set", own, "netns", name);
    const peer = new Peer(name, own, address);
    await peer.run("ip", "link", "set", "lo", "up");
    await peer.run("sh", "-c", `echo 1 > /proc/sys/net/ipv6/conf/${own}/disable_ipv6`);
    await peer.run("ip", "address", "add", `${address}/24`, "dev", own);
    await peer.run("ip", "link", "set", own, "up");
    return peer;
  }

  /** Runs a command in the namespace and returns its stdout. */
  run(...argv: string[]): Promise<string> {
    return command(...this.argv(...argv));
  }

  argv(...argv: string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...argv];
  }

  /**
   * How many of `count` pings are answered, however late. Without a deadline ping waits a second at most for the last
   * answer once there was one, and a guest under emulation stands still for longer; with one it goes on to send until
   * it has `count` answers, so that one which is lost shows in the numbers.
   */
  async ping(address: string, count: number): Promise<number> {
    const pinging = ["ping", "-n", "-c", String(count), "-w", "120", "-i", "0.2", address];
    const { stdout } = await attempt(this.argv(...pinging));
    const answered = [...stdout.matchAll(/^\d+ bytes from .* icmp_seq=(\d+) /gm)].map(([, seq]) =>
      Number(seq),
    );
    return new Set(answered.filter((seq) => seq <= count)).size;
  }

  /** Sends `count` pings with `bytes` of data, many on their way at a time; number of answers. */
  async flood(address: string, count: number, bytes = 56): Promise<number> {
    // What is on its way has to fit into a receive ring: large pings come in pieces.
    const ahead = Math.max(1, Math.floor(256 / Math.ceil((bytes + 8) / 1480)));
    const amount = ["-c", String(count), "-s", String(bytes), "-l", String(ahead)];
    const flooding = ["ping", "-n", "-q", "-f", ...amount, "-W", "2", address];
    return answers((await attempt(this.argv(...flooding))).stdout);
  }

  /** The kernel's counter of the interface, such as rx_packets. */
  async counter(name: string): Promise<number> {
    return Number(await this.run("cat", `/sys/class/net/${this.link}/statistics/${name}`));
  }

  async remove(): Promise<void> {
    // The interface returns to where its device is.
    await command("ip", "netns", "delete", this.namespace);
  }
}

/** Reads the last line of either ping. */
export function answers(output: string): number {
  const received = output.match(/(\d+) (?:packets )?received/)?.[1];
  if (received === undefined) throw new Error(`ping said no count: ${output}`);
  return Number(received);
}
