import type { DeviceReport, QueueReport } from "./device-report.ts";
import type { ShownDevice } from "./device-state.ts";
import { readUsed, usedOfBase } from "./ring-position.ts";

/** How long the sampling goes on after it was last asked for, in ms. */
const LEASE_MS = 5000;
/** Between two samples: less while a ring moves far from one to the next. */
const SHORTEST_MS = 2;
const LONGEST_MS = 20;
/** While there are no rings. One that starts then counts from its base. */
const IDLE_MS = 200;

/** Entries that a queue has finished since the sampling began. */
export interface Traffic {
  readonly entries: number;
  /** False when a ring may have gone round between two samples, so that there may have been more. */
  readonly exact: boolean;
}

interface Sample {
  readonly start: number;
  readonly mode: QueueReport["mode"];
  readonly used: number;
  readonly modulus: number;
  readonly relayed: number;
  readonly at: number;
}

class QueueTraffic {
  entries = 0;
  exact = true;
  last: Sample | undefined;
  /** Entries per ms, the most that was seen. */
  fastest = 0;
}

/**
 * Counts what queues do in direct mode, where no code of ours sees an entry: the used position in the guest's ring is
 * read again and again, which disturbs neither the device nor the serving thread. A split ring's index goes round
 * after 65536 entries, a packed ring's position after two laps, so the samples must not be further apart than that.
 */
export class TrafficSampler {
  readonly #queues = new Map<number, QueueTraffic>();
  #text = "";
  #report: DeviceReport | undefined;
  #until = 0;
  /** Rings that appear from now on have just been started. */
  #sampledBefore = false;
  #intervalMs = LONGEST_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly device: ShownDevice) {}

  /** Samples now, and for some time from now on (for ever: until the process ends). */
  keep(forEver = false): void {
    this.#until = forEver ? Number.POSITIVE_INFINITY : Math.max(this.#until, performance.now() + LEASE_MS);
    if (this.#timer === undefined) {
      // What happened meanwhile is not known, and nobody has asked.
      this.#queues.clear();
      this.#sampledBefore = false;
      this.#intervalMs = SHORTEST_MS;
    }
    clearTimeout(this.#timer);
    this.#sample();
    this.#schedule();
  }

  /** Undefined while nothing is sampled, and for a queue that has no ring. */
  of(queue: number): Traffic | undefined {
    const traffic = this.#timer === undefined ? undefined : this.#queues.get(queue);
    return traffic && { entries: traffic.entries, exact: traffic.exact };
  }

  #schedule(): void {
    this.#timer = undefined;
    if (performance.now() >= this.#until) return;
    this.#timer = setTimeout(() => {
      this.#sample();
      this.#schedule();
    }, this.#intervalMs);
    this.#timer.unref();
  }

  #sample(): void {
    const reading = this.device.board.read();
    if (!reading || !this.device.board.isStill(reading)) return;
    if (reading.text !== this.#text) {
      this.#text = reading.text;
      this.#report = JSON.parse(reading.text) as DeviceReport;
    }
    const { queues } = this.#report!;
    const at = performance.now();
    const samples = queues.map((queue) => this.#take(queue, at));
    // Addresses that have just become wrong give no position.
    if (!this.device.board.isStill(reading)) return;
    let furthest = 0;
    for (const [i, queue] of queues.entries()) {
      const sample = samples[i];
      if (sample) furthest = Math.max(furthest, this.#add(queue, sample));
    }
    this.#sampledBefore = true;
    if (queues.length === 0) this.#intervalMs = IDLE_MS;
    else if (this.#intervalMs === IDLE_MS) this.#intervalMs = SHORTEST_MS;
    else if (furthest > 1 / 8) this.#intervalMs = Math.max(SHORTEST_MS, this.#intervalMs / 2);
    else if (furthest < 1 / 32) this.#intervalMs = Math.min(LONGEST_MS, this.#intervalMs * 2);
  }

  #take(queue: QueueReport, at: number): Sample | undefined {
    // First, so that an entry in between is not missed but counted next time.
    const relayed = this.device.counters.queue(queue.index).get("relay_completed");
    const position = readUsed(queue);
    return position && { start: queue.start.id, mode: queue.mode, ...position, relayed, at };
  }

  /** Adds what happened since the last sample; returns how far round the ring that was. */
  #add(queue: QueueReport, sample: Sample): number {
    let traffic = this.#queues.get(queue.index);
    if (!traffic) {
      traffic = new QueueTraffic();
      this.#queues.set(queue.index, traffic);
    }
    let { last } = traffic;
    traffic.last = sample;
    // A ring that was not there before: it began at its base, not long ago.
    if (last ? last.start !== sample.start : this.#sampledBefore) {
      last = { ...sample, used: usedOfBase(queue), mode: "direct", at: sample.at - this.#intervalMs };
    }
    if (!last) return 0;
    if (last.mode === "relay" && sample.mode === "relay") {
      traffic.entries += sample.relayed - last.relayed;
      return 0;
    }
    const moved = (sample.used - last.used + sample.modulus) % sample.modulus;
    const ms = sample.at - last.at;
    traffic.entries += moved;
    if (ms > 0) traffic.fastest = Math.max(traffic.fastest, moved / ms);
    // At the rate that was seen, the ring may have gone round in this time.
    if (traffic.fastest * ms > sample.modulus * 0.75) traffic.exact = false;
    return moved / sample.modulus;
  }
}
