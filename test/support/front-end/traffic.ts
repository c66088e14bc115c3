import { checkFrame, type Echo, ETHER_TYPE, MAX_FRAME, MIN_FRAME, writeFrame } from "./frame.ts";
import type { Guest } from "./guest.ts";
import type { NetPair } from "./net-pair.ts";

/** What became of the frames of one pair. */
export interface PairReport {
  readonly pair: number;
  sent: number;
  /** Distinct right frames that came back. */
  returned: number;
  duplicates: number;
  /** The first few things that were wrong with frames. */
  wrong: string[];
}

export interface TrafficOptions {
  /** Frames per pair, or `undefined` to go on until `until` says so. */
  readonly frames?: number | undefined;
  readonly until?: () => boolean;
  /** Pairs that send (all enabled at the start). */
  readonly pairs?: readonly number[];
  readonly echo?: Echo;
  /** Length of the frame with this number (all lengths in turn). */
  readonly length?: (sequence: number) => number;
  /** First sequence number; runs on one guest need different ones (0). */
  readonly from?: number;
  /** Gives up when nothing comes back for this long (20 s). */
  readonly patienceMs?: number;
  /** Most frames of a pair on their way at once (a quarter of the ring's entries). */
  readonly window?: number;
  /**
   * Frames may be lost until `until` says so: one more is sent then, with which all others must have come, as the way
   * keeps the order.
   */
  readonly lossy?: boolean;
  /** Takes frames of other kinds, for the duration of the call; without it they are wrong. */
  readonly onForeign?: (frame: Buffer) => void;
  readonly onRound?: (reports: readonly PairReport[]) => void | Promise<void>;
}

const everyLength = (sequence: number) => MIN_FRAME + ((sequence * 97) % (MAX_FRAME - MIN_FRAME + 1));

/** Frames on their way: a window keeps every frame within what the receive ring has room for. */
class Flow {
  readonly report: PairReport;
  readonly #back = new Set<number>();
  #low = 0;
  /** The frame after which none can come any more. */
  #last = -1;
  readonly #buffer = Buffer.alloc(2048);

  constructor(
    readonly pair: NetPair,
    readonly options: TrafficOptions,
  ) {
    this.report = { pair: pair.index, sent: 0, returned: 0, duplicates: 0, wrong: [] };
  }

  get missing(): number {
    return this.report.sent - this.report.returned;
  }

  /** Sends as much as the window allows; returns how many frames. */
  send(limit: number): number {
    const { window = this.pair.tx.ring.size >> 2 } = this.options;
    let n = 0;
    while (this.report.sent < limit && this.missing < window && this.#sendOne()) n++;
    if (n > 0) this.pair.tx.flush();
    return n;
  }

  #sendOne(): boolean {
    const { from = 0, length = everyLength } = this.options;
    const sequence = from + this.report.sent;
    if (!this.pair.transmit(writeFrame(this.#buffer, this.pair.index, sequence, length(sequence))))
      return false;
    this.report.sent++;
    return true;
  }

  /** Sends one more, whatever is missing, as soon as there is room; whether it has come back. */
  followed(): boolean {
    if (this.#last < 0 && this.#sendOne()) {
      this.#last = this.report.sent - 1;
      this.pair.tx.flush();
    }
    return this.#last >= 0 && (this.#last < this.#low || this.#back.has(this.#last));
  }

  /** Takes what came back; returns whether anything moved. */
  receive(): boolean {
    const reclaimed = this.pair.reclaim();
    return this.pair.receive((frame) => this.#accept(frame)) + reclaimed > 0;
  }

  #accept(frame: Buffer): void {
    const { report } = this;
    const { from = 0, echo = "loopback", onForeign } = this.options;
    if (onForeign && frame.readUInt16BE(12) !== ETHER_TYPE) {
      onForeign(frame);
      return;
    }
    const found = checkFrame(frame, this.pair.index, echo);
    if (typeof found === "string") {
      if (report.wrong.length < 5) report.wrong.push(found);
      return;
    }
    const n = found - from;
    if (n < 0 || n >= report.sent) {
      if (report.wrong.length < 5) report.wrong.push(`frame ${found} was not sent`);
    } else if (n < this.#low || this.#back.has(n)) report.duplicates++;
    else {
      report.returned++;
      this.#back.add(n);
      while (this.#back.delete(this.#low)) this.#low++;
    }
  }
}

/** Sends frames through a back-end that returns them on the same pair, and accounts for every one. */
export async function exchange(guest: Guest, options: TrafficOptions): Promise<PairReport[]> {
  const { frames, until = () => false, patienceMs = 20_000 } = options;
  const pairs = options.pairs ?? guest.pairs.slice(0, guest.machine.enabledPairs).map((pair) => pair.index);
  const flows = pairs.map((index) => new Flow(guest.pairs[index]!, options));
  const reports = flows.map((flow) => flow.report);
  let quietSince = performance.now();
  for (;;) {
    const stop = until();
    let moved = false;
    for (const flow of flows) {
      if (!stop) moved = flow.send(frames ?? Infinity) > 0 || moved;
      moved = flow.receive() || moved;
    }
    await options.onRound?.(reports);
    const allSent = stop || flows.every((flow) => flow.report.sent === frames);
    const back = (flow: Flow) => (options.lossy ? flow.followed() : flow.missing === 0);
    // Every flow is asked, as `followed` may have to send.
    if (allSent && flows.map(back).every(Boolean)) return reports;
    const now = performance.now();
    if (moved) quietSince = now;
    else if (now - quietSince > patienceMs) return reports;
    await guest.idle();
  }
}

/** The reports' problem in words, or undefined when every frame came back exactly once, unchanged, on its pair. */
export function trafficProblem(reports: readonly PairReport[]): string | undefined {
  const problems = reports.flatMap(({ pair, sent, returned, duplicates, wrong }) => [
    ...(sent === returned ? [] : [`pair ${pair}: ${sent - returned} of ${sent} frames lost`]),
    ...(duplicates === 0 ? [] : [`pair ${pair}: ${duplicates} duplicates`]),
    ...wrong.map((text) => `pair ${pair}: ${text}`),
  ]);
  return problems.length === 0 ? undefined : problems.join("; ");
}
