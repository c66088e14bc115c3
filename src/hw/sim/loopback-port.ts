import type { SimCounters } from "./counters.ts";
import { DeviceFault } from "./device-fault.ts";
import type { DmaPort } from "./dma-port.ts";
import { FrameQueue, MAX_FRAME } from "./frame-queue.ts";
import type { Interrupts } from "./interrupts.ts";
import { NET_HEADER, NET_HEADER_NUM_BUFFERS } from "./virtio.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** Frames between two looks at who wants an interrupt, and in one `pump`. */
const BATCH = 64;
const BUDGET = 512;

/**
 * The wire of one queue pair, looped back: each transmitted frame is received once. Without a receive buffer frames
 * wait, and when the queue is full no more are taken from the driver, so that none is lost.
 */
export class LoopbackPort {
  readonly #dma: DmaPort;
  readonly #interrupts: Interrupts;
  readonly #counters: SimCounters;
  readonly #frames: FrameQueue;

  constructor(dma: DmaPort, interrupts: Interrupts, counters: SimCounters, maxFrames: number) {
    this.#dma = dma;
    this.#interrupts = interrupts;
    this.#counters = counters;
    this.#frames = new FrameQueue(maxFrames);
  }

  /** Moves up to 512 frames; true when there is more to move. Throws DeviceFault on malformed rings. */
  pump(receive: Virtqueue, transmit: Virtqueue): boolean {
    transmit.ring?.disableKicks();
    let left = BUDGET;
    let blocked = false;
    for (;;) {
      const received = this.#receive(receive);
      const taken = this.#transmit(transmit);
      blocked = taken < 0;
      if (received) this.#publish(receive);
      if (taken > 0) this.#publish(transmit);
      if (received + Math.max(taken, 0) === 0) break;
      left -= Math.max(received, taken);
      if (left <= 0) return true;
    }
    // Nothing moves any more: ask to be woken by what would change that.
    if (this.#frames.count > 0) {
      if (receive.ring?.enableKicks()) return true;
    } else {
      receive.ring?.disableKicks();
    }
    return !blocked && (transmit.ring?.enableKicks() ?? false);
  }

  clear(): void {
    this.#counters.add("frames_dropped", this.#frames.count);
    this.#frames.clear();
  }

  /** Hands waiting frames to the driver; how many left the queue. */
  #receive({ inFlight }: Virtqueue): number {
    const frames = this.#frames;
    let done = 0;
    while (inFlight && frames.count > 0 && done < BATCH) {
      const chain = inFlight.nextBuffer();
      if (!chain) break;
      if (chain.readable > 0) throw new DeviceFault("device-readable descriptor in a receive queue");
      const { length } = frames;
      if (length > chain.writeBytes) {
        this.#counters.add("frames_too_long");
      } else {
        chain.write(this.#dma, frames.memory, frames.offset, length);
        inFlight.fill(chain, length);
        this.#counters.add("frames");
        this.#counters.add("bytes", length - NET_HEADER);
      }
      frames.shift();
      done++;
    }
    return done;
  }

  /** Takes frames from the driver; how many, -1 when there are some but no room for the first. */
  #transmit({ inFlight }: Virtqueue): number {
    if (!inFlight) return 0;
    let done = 0;
    let full = false;
    while (done < BATCH) {
      const chain = inFlight.peek();
      if (!chain) break;
      if (chain.readable < chain.count)
        throw new DeviceFault("device-writable descriptor in a transmit queue");
      const length = chain.readBytes;
      if (length < NET_HEADER)
        throw new DeviceFault(`transmit chain of ${length} bytes without a whole header`);
      if (length > MAX_FRAME) {
        this.#counters.add("frames_too_long");
      } else {
        const offset = this.#frames.room(length);
        if (offset < 0) {
          full = true;
          break;
        }
        const { memory } = this.#frames;
        chain.read(this.#dma, memory, offset, length);
        // §5.1.6.4: the received frame has a header of its own, with one buffer.
        memory.u8.fill(0, offset, offset + NET_HEADER);
        memory.u8[offset + NET_HEADER_NUM_BUFFERS] = 1;
        this.#frames.push(offset, length);
      }
      inFlight.finish(chain, 0);
      done++;
    }
    inFlight.flush();
    return done === 0 && full ? -1 : done;
  }

  #publish(queue: Virtqueue): void {
    if (queue.ring!.publish()) this.#interrupts.signal(queue.vector);
  }
}
