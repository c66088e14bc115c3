// Pings at short intervals from the peer's end of the wire, whose clock goes on while a guest moves: the gaps between
// the answers show for how long nothing came through.
import type { Peer } from "./network.ts";
import { Program } from "./program.ts";
import { until } from "./until.ts";

const INTERVAL_SECONDS = "0.05";

interface Answer {
  /** Milliseconds of Unix time. */
  time: number;
  duplicate: boolean;
}

export interface PingCounts {
  sent: number;
  received: number;
  duplicates: number;
}

export class Pinger {
  private constructor(readonly program: Program) {}

  /** Resolves at the first answer. */
  static async start(peer: Peer, address: string): Promise<Pinger> {
    // Without stdbuf the answers would wait in a buffer of the program's.
    const argv = ["stdbuf", "-oL", "ping", "-n", "-D", "-i", INTERVAL_SECONDS, address];
    const pinger = new Pinger(new Program("pinger", peer.argv(...argv)));
    await pinger.answeredAfter(0);
    return pinger;
  }

  get #answers(): Answer[] {
    const lines = this.program.stdout.text.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from .*$/gm);
    return [...lines].map(([line, seconds]) => ({
      time: 1000 * Number(seconds),
      duplicate: line.includes("DUP!"),
    }));
  }

  /** Waits for an answer that came after a moment (milliseconds of Unix time). */
  async answeredAfter(time: number): Promise<void> {
    await until("an answer to a ping", () => {
      const last = this.#answers.at(-1);
      return last !== undefined && last.time > time;
    });
  }

  /** The two successive answers furthest apart, of those that reach into a span of time: when they came. */
  longestPause(from: number, to: number): { last: number; next: number } {
    const times = this.#answers.filter(({ duplicate }) => !duplicate).map(({ time }) => time);
    let longest = { last: from, next: from };
    for (let i = 1; i < times.length; i++) {
      const [last, next] = [times[i - 1]!, times[i]!];
      if (next > from && last < to && next - last > longest.next - longest.last) longest = { last, next };
    }
    return longest;
  }

  /** Its length in milliseconds. */
  longestGap(from: number, to: number): number {
    const { last, next } = this.longestPause(from, to);
    return next - last;
  }

  /** Ends it; what it counted. */
  async stop(): Promise<PingCounts> {
    this.program.signal("SIGINT");
    await this.program.exited;
    const { text } = this.program.stdout;
    const [, sent, received] = text.match(/(\d+) packets transmitted, (\d+) received/) ?? [];
    if (sent === undefined) throw new Error(`ping said no counts: ${text.slice(-400)}`);
    const duplicates = this.#answers.filter(({ duplicate }) => duplicate).length;
    return { sent: Number(sent), received: Number(received), duplicates };
  }
}

/** Median and greatest of some gaps, in words. */
export function describeGaps(gaps: number[]): string {
  const ascending = [...gaps].sort((a, b) => a - b);
  const median = ascending[Math.floor((ascending.length - 1) / 2)] ?? 0;
  const [p50, max] = [median, ascending.at(-1) ?? 0].map((gap) => gap.toFixed(0));
  return `without traffic at ${gaps.length} switches: p50 ${p50} ms, max ${max} ms`;
}
